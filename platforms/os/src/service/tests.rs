//! What managers are told, word for word, and what systemd itself says of it.

use super::*;

fn service(scope: Scope) -> Service {
    Service {
        program: "/usr/local/bin/tutu".into(),
        arguments: ["serve", "--name", "a \"b\" 5% $HOME"].map(String::from).into(),
        home: None,
        low_port: false,
        scope,
        user: None,
    }
}

#[test]
fn a_unit_for_a_user() {
    let mut service = service(Scope::User);
    service.home = Some("/data/my models".into());
    assert_eq!(service.text(Manager::Systemd).unwrap(), include_str!("golden/user.service"));
}

#[test]
fn a_unit_for_the_machine() {
    let mut service = Service { arguments: vec!["serve".into()], ..service(Scope::System) };
    assert_eq!(service.text(Manager::Systemd).unwrap(), include_str!("golden/system.service"));
    service.low_port = true;
    let text = service.text(Manager::Systemd).unwrap();
    assert!(text.contains("\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"));
}

#[test]
fn a_list_for_launchd() {
    let mut service = service(Scope::User);
    assert!(service.text(Manager::Launchd).is_err(), "it has no home");
    service.home = Some("/Users/a & b/.tutu".into());
    assert_eq!(service.text(Manager::Launchd).unwrap(), include_str!("golden/tutu.serve.plist"));
    service.scope = Scope::System;
    assert!(service.text(Manager::Launchd).is_err(), "it would be root");
    service.user = Some("me".into());
    assert!(service.text(Manager::Launchd).unwrap().contains("<key>UserName</key>\n    <string>me</string>"));
}

#[test]
fn a_task_for_windows() {
    let mut service = service(Scope::User);
    service.program = r"C:\Program Files\tutu.exe".into();
    assert_eq!(service.text(Manager::Task).unwrap(), include_str!("golden/tutu-task.xml"));
    service.home = Some("D:\\tutu".into());
    assert!(service.text(Manager::Task).unwrap_err().contains("setx"));
    assert!(Service { scope: Scope::System, ..service }.text(Manager::Task).is_err());
}

#[test]
fn what_is_done_stands_in_its_order() {
    let lines = |steps: Vec<Step>| steps.iter().map(|step| step.join(" ")).collect::<Vec<_>>();
    let path = Path::new("/x");
    assert_eq!(
        lines(begin(Manager::Systemd, Scope::User, path, 1)),
        ["systemctl --user daemon-reload", "systemctl --user enable --now tutu.service"]
    );
    assert_eq!(lines(end(Manager::Systemd, Scope::System, 1)), ["systemctl disable --now tutu.service"]);
    assert_eq!(lines(begin(Manager::Launchd, Scope::User, path, 501)), ["launchctl bootstrap gui/501 /x"]);
    assert_eq!(lines(end(Manager::Launchd, Scope::System, 0)), ["launchctl bootout system/tutu.serve"]);
    assert_eq!(
        lines(begin(Manager::Task, Scope::User, path, 0)),
        ["schtasks /Create /TN TuTU /XML /x /F", "schtasks /Run /TN TuTU"]
    );
}

#[test]
fn files_stand_where_managers_look() {
    let at = |manager, scope| place(manager, scope, Path::new("/h"), Path::new("/h/.config")).display().to_string();
    assert_eq!(at(Manager::Systemd, Scope::User), "/h/.config/systemd/user/tutu.service");
    assert_eq!(at(Manager::Systemd, Scope::System), "/etc/systemd/system/tutu.service");
    assert_eq!(at(Manager::Launchd, Scope::User), "/h/Library/LaunchAgents/tutu.serve.plist");
    assert_eq!(at(Manager::Launchd, Scope::System), "/Library/LaunchDaemons/tutu.serve.plist");
}

/// systemd's own opinion, where it is there.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = std::env::temp_dir().join(format!("tutu-units-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (scope, flags) in [(Scope::User, &["--user"][..]), (Scope::System, &[])] {
        let service = Service { program: std::env::current_exe().unwrap(), ..service(scope) };
        let path = folder.join(systemd::NAME);
        std::fs::write(&path, service.text(Manager::Systemd).unwrap()).unwrap();
        let mut command = std::process::Command::new("systemd-analyze");
        let out = command.args(["verify", "--man=no"]).args(flags).arg(&path).output();
        let Ok(out) = out else {
            println!("skipped: there is no systemd-analyze");
            break;
        };
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        // Units of the machine that it looks at besides are not ours.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("tutu.service")).collect();
        assert!(ours.is_empty(), "{scope:?}: {}", ours.join("\n"));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

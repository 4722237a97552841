//! A property list of launchd.
//!
//! Source: launchd.plist(5), launchctl(1).

use std::path::Path;

use super::{Scope, Service, Step, step, xml};

/// What launchd calls it.
const LABEL: &str = "tutu.serve";

/// The file that tells of it.
pub(super) const FILE: &str = "tutu.serve.plist";

pub(super) fn plist(service: &Service) -> Result<String, &'static str> {
    let user = match (service.scope, &service.user) {
        (Scope::User, _) => String::new(),
        (Scope::System, Some(user)) => format!("    <key>UserName</key>\n    <string>{}</string>\n", xml(user)),
        (Scope::System, None) => return Err("a service of the whole machine needs a user, so that it is not root"),
    };
    let Some(home) = &service.home else { return Err("launchd must be told where the home is") };
    let words = [service.program.display().to_string()];
    let words: String = words
        .iter()
        .chain(&service.arguments)
        .map(|word| format!("        <string>{}</string>\n", xml(word)))
        .collect();
    let log = xml(&home.join("service.log").display().to_string());
    let home = xml(&home.display().to_string());
    Ok(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>{LABEL}</string>
    <key>ProgramArguments</key>
    <array>
{words}    </array>
    <key>EnvironmentVariables</key>
    <dict>
        <key>TUTU_HOME</key>
        <string>{home}</string>
    </dict>
{user}    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <dict>
        <key>SuccessfulExit</key>
        <false/>
    </dict>
    <key>ThrottleInterval</key>
    <integer>10</integer>
    <key>ExitTimeOut</key>
    <integer>60</integer>
    <key>ProcessType</key>
    <string>Interactive</string>
    <key>Umask</key>
    <integer>63</integer>
    <key>SoftResourceLimits</key>
    <dict>
        <key>NumberOfFiles</key>
        <integer>65536</integer>
    </dict>
    <key>StandardOutPath</key>
    <string>{log}</string>
    <key>StandardErrorPath</key>
    <string>{log}</string>
</dict>
</plist>
"#
    ))
}

fn domain(scope: Scope, user: u32) -> String {
    match scope {
        Scope::User => format!("gui/{user}"),
        Scope::System => "system".into(),
    }
}

pub(super) fn begin(scope: Scope, path: &Path, user: u32) -> Vec<Step> {
    vec![step(&["launchctl", "bootstrap", &domain(scope, user), &path.display().to_string()])]
}

pub(super) fn end(scope: Scope, user: u32) -> Vec<Step> {
    vec![step(&["launchctl", "bootout", &format!("{}/{LABEL}", domain(scope, user))])]
}

pub(super) fn ask(scope: Scope, user: u32) -> Step {
    step(&["launchctl", "print", &format!("{}/{LABEL}", domain(scope, user))])
}

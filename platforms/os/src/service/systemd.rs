//! A unit of systemd.
//!
//! Sources: systemd.service(5), systemd.exec(5), systemd.resource-control(5), systemd.syntax(7).

use super::{Scope, Service, Step, step};

/// What the unit is called.
pub(super) const NAME: &str = "tutu.service";

/// What confines it whoever it runs for. Without rights over the machine, systemd can do no more.
const CONFINED: &str = "\
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

/// What confines it beside that where systemd may do everything. It sees the machine's files and writes its own.
/// Of devices it may use what computes. Memory that is written and run is left to it: drivers of graphics cards compile.
const ALONE: &str = "\
DynamicUser=yes
StateDirectory=tutu
StateDirectoryMode=0700
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
DevicePolicy=closed
DeviceAllow=char-drm rw
DeviceAllow=char-nvidia-frontend rw
DeviceAllow=char-kfd rw
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RemoveIPC=yes
";

pub(super) fn unit(service: &Service) -> String {
    let words: Vec<String> = [service.program.display().to_string()]
        .iter()
        .chain(&service.arguments)
        .map(|word| quoted(word).replace('$', "$$"))
        .collect();
    let home = match (&service.home, service.scope) {
        (Some(home), _) => format!("Environment={}\n", quoted(&format!("TUTU_HOME={}", home.display()))),
        (None, Scope::System) => "Environment=TUTU_HOME=/var/lib/tutu HOME=/var/lib/tutu\n".into(),
        (None, Scope::User) => String::new(),
    };
    let (target, confined) = match service.scope {
        Scope::User => ("default.target", CONFINED.to_owned()),
        Scope::System => {
            let (may, ambient) = if service.low_port {
                ("CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_BIND_SERVICE\n")
            } else {
                ("", "")
            };
            let kept =
                service.home.as_ref().map(|home| format!("ReadWritePaths={}\n", quoted(&home.display().to_string())));
            let kept = kept.unwrap_or_default();
            ("multi-user.target", format!("{CONFINED}{ALONE}CapabilityBoundingSet={may}\n{ambient}{kept}"))
        }
    };
    // A user's manager knows nothing of the machine's network.
    let network = match service.scope {
        Scope::User => "",
        Scope::System => "Wants=network-online.target\nAfter=network-online.target\n",
    };
    format!(
        "# Made by `tutu service`; `tutu service uninstall` removes it.\n\
         [Unit]\n\
         Description=TuTU Engine, language models on this machine\n\
         {network}\
         StartLimitIntervalSec=60\n\
         StartLimitBurst=5\n\
         \n\
         [Service]\n\
         # It says when it listens, and when it reads its certificates again.\n\
         Type=notify\n\
         NotifyAccess=main\n\
         ExecStart={}\n\
         ExecReload=/bin/kill -HUP $MAINPID\n\
         {home}\
         Restart=on-failure\n\
         RestartSec=2\n\
         # What is being answered is finished first, and models are put away.\n\
         TimeoutStopSec=60\n\
         # Only it is told to end: what it started ends with it.\n\
         KillMode=mixed\n\
         LimitNOFILE=65536\n\
         {confined}\
         \n\
         [Install]\n\
         WantedBy={target}\n",
        words.join(" ")
    )
}

/// A word of a unit: in quotes, with what means something to systemd doubled or escaped.
fn quoted(text: &str) -> String {
    let plain = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('\n', "\\n");
    format!("\"{plain}\"")
}

fn control(scope: Scope, words: &[&str]) -> Step {
    let whose: &[&str] = match scope {
        Scope::User => &["systemctl", "--user"],
        Scope::System => &["systemctl"],
    };
    step(&[whose, words].concat())
}

pub(super) fn begin(scope: Scope) -> Vec<Step> {
    vec![control(scope, &["daemon-reload"]), control(scope, &["enable", "--now", NAME])]
}

pub(super) fn end(scope: Scope) -> Vec<Step> {
    vec![control(scope, &["disable", "--now", NAME])]
}

pub(super) fn reload(scope: Scope) -> Vec<Step> {
    vec![control(scope, &["daemon-reload"])]
}

pub(super) fn ask(scope: Scope) -> Step {
    control(scope, &["show", "--property=LoadState,ActiveState,SubState,MainPID,Result", NAME])
}

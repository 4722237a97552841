//! A program that the system keeps running: what systemd, launchd and the task scheduler of Windows must be told.
//!
//! Everything here is text and paths; whoever installs a service writes the text where [`place`] says and
//! has the steps of [`begin`] done.

mod launchd;
mod notify;
mod systemd;
mod task;

use std::path::{Path, PathBuf};

pub use notify::Notify;

/// Who keeps the program running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Linux.
    Systemd,
    /// macOS.
    Launchd,
    /// Windows.
    Task,
}

impl Manager {
    /// The one of this system; none where we know of none.
    pub fn here() -> Option<Self> {
        match std::env::consts::OS {
            "linux" => Some(Self::Systemd),
            "macos" => Some(Self::Launchd),
            "windows" => Some(Self::Task),
            _ => None,
        }
    }

    /// The manager of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "systemd" => Some(Self::Systemd),
            "launchd" => Some(Self::Launchd),
            "windows" => Some(Self::Task),
            _ => None,
        }
    }
}

/// For whom it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For whoever installs it, with their rights.
    User,
    /// For the machine, from its start on, with as few rights as there can be.
    System,
}

/// What is to be kept running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The program, from the root on.
    pub program: PathBuf,
    /// What stands after it on its command line.
    pub arguments: Vec<String>,
    /// The folder of everything it keeps; nothing for the one that it finds itself.
    pub home: Option<PathBuf>,
    /// Whether it listens on a port below 1024.
    pub low_port: bool,
    /// For whom.
    pub scope: Scope,
    /// Under whose name, where the manager does not make one up: launchd, for the whole machine.
    pub user: Option<String>,
}

/// A command line: the program, and what stands after it.
pub type Step = Vec<String>;

impl Service {
    /// The file that tells the manager of it.
    ///
    /// # Errors
    /// What this manager cannot do.
    pub fn text(&self, manager: Manager) -> Result<String, &'static str> {
        match manager {
            Manager::Systemd => Ok(systemd::unit(self)),
            Manager::Launchd => launchd::plist(self),
            Manager::Task => task::xml(self),
        }
    }
}

/// Where the file of a service belongs, `home` being the folder of whoever asks and `config` that of their settings.
pub fn place(manager: Manager, scope: Scope, home: &Path, config: &Path) -> PathBuf {
    match (manager, scope) {
        (Manager::Systemd, Scope::User) => config.join("systemd/user").join(systemd::NAME),
        (Manager::Systemd, Scope::System) => Path::new("/etc/systemd/system").join(systemd::NAME),
        (Manager::Launchd, Scope::User) => home.join("Library/LaunchAgents").join(launchd::FILE),
        (Manager::Launchd, Scope::System) => Path::new("/Library/LaunchDaemons").join(launchd::FILE),
        // The task scheduler keeps a copy of its own: this is where one is written for it to read.
        (Manager::Task, _) => config.join("tutu").join(task::FILE),
    }
}

/// What is done once the file at `path` is written; `user` is the number of whoever asks.
pub fn begin(manager: Manager, scope: Scope, path: &Path, user: u32) -> Vec<Step> {
    match manager {
        Manager::Systemd => systemd::begin(scope),
        Manager::Launchd => launchd::begin(scope, path, user),
        Manager::Task => task::begin(path),
    }
}

/// What is done before the file goes; what fails there had ended already.
pub fn end(manager: Manager, scope: Scope, user: u32) -> Vec<Step> {
    match manager {
        Manager::Systemd => systemd::end(scope),
        Manager::Launchd => launchd::end(scope, user),
        Manager::Task => task::end(),
    }
}

/// What is done after the file is gone.
pub fn after(manager: Manager, scope: Scope) -> Vec<Step> {
    match manager {
        Manager::Systemd => systemd::reload(scope),
        Manager::Launchd | Manager::Task => Vec::new(),
    }
}

/// What tells whether it runs.
pub fn ask(manager: Manager, scope: Scope, user: u32) -> Step {
    match manager {
        Manager::Systemd => systemd::ask(scope),
        Manager::Launchd => launchd::ask(scope, user),
        Manager::Task => task::ask(),
    }
}

fn step(words: &[&str]) -> Step {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Text in XML.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;

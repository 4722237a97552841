//! `tutu service`: has the system keep the server running.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lexopt::{Arg, Parser, ValueExt};
use tutu_os::service::{self, Manager, Scope, Service, Step};

use super::{Error, args, serve};
use crate::{client::Client, daemon::seat};

/// What `service` takes.
pub const FLAGS: &[(&str, &str)] = &[
    ("--system", "for the whole machine, from its start on, in a home of its own; otherwise for you"),
    ("--for MANAGER", "print for systemd, launchd or windows (the one of this machine)"),
    ("-- FLAGS", "what `tutu serve` is given, for example -- --port 8080"),
];

/// What the command line says.
struct Asked {
    what: String,
    scope: Scope,
    manager: Manager,
    /// For `tutu serve`.
    flags: Vec<String>,
}

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let asked = asked(&mut parser)?;
    match asked.what.as_str() {
        "print" => print!("{}", made(&asked)?),
        "install" => install(&asked)?,
        "uninstall" => uninstall(&asked)?,
        "status" => status(&asked)?,
        other => return Err(Error::usage(format!("service knows no {other:?}: install, uninstall, status or print"))),
    }
    Ok(())
}

fn asked(parser: &mut Parser) -> Result<Asked, Error> {
    let (mut what, mut scope, mut manager) = (None, Scope::User, None);
    let mut flags = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("system") => scope = Scope::System,
            Arg::Long("for") => {
                let name = parser.value()?.string()?;
                let unknown = || Error::usage(format!("{name:?} is none of systemd, launchd and windows"));
                manager = Some(Manager::parse(&name).ok_or_else(unknown)?);
            }
            Arg::Value(word) if what.is_none() => what = Some(word.string()?),
            // What stands after `--` comes as it is.
            Arg::Value(word) => flags.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let what = what.ok_or_else(|| Error::usage("say service install, uninstall, status or print"))?;
    if manager.is_some() && what != "print" {
        return Err(Error::usage("--for is for print: what is installed here is for the manager that is here"));
    }
    let nobody = || Error::failed("on this system we know nobody who keeps programs running; `tutu serve` runs it");
    let manager = manager.or_else(Manager::here).ok_or_else(nobody)?;
    Ok(Asked { what, scope, manager, flags })
}

/// What is to be kept running.
fn described(asked: &Asked) -> Result<Service, Error> {
    let home = args::home()?;
    let low_port = serve::check(&asked.flags, &home)?;
    let given = std::env::var_os("TUTU_HOME").is_some_and(|path| !path.is_empty());
    let home = match (asked.manager, asked.scope) {
        (Manager::Launchd, _) => Some(home),
        (Manager::Systemd, Scope::System) => None,
        _ => given.then_some(home),
    };
    let program = std::env::current_exe()?.canonicalize()?;
    let is_hidden = ["/home", "/root", "/run/user"].iter().any(|folder| program.starts_with(folder));
    if asked.manager == Manager::Systemd && asked.scope == Scope::System && is_hidden {
        let text = "a service of the machine sees nobody's home, and this program is in one: copy it to /usr/local/bin, and ask it there";
        return Err(Error::failed(text));
    }
    let home = home.map(std::path::absolute).transpose()?;
    let arguments = ["serve".to_owned()].into_iter().chain(asked.flags.iter().cloned()).collect();
    let user = ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok()).filter(|user| user != "root");
    Ok(Service { program, arguments, home, low_port, scope: asked.scope, user })
}

fn made(asked: &Asked) -> Result<String, Error> {
    described(asked)?.text(asked.manager).map_err(Error::failed)
}

/// Where the file belongs.
fn place(asked: &Asked) -> Result<PathBuf, Error> {
    let home = std::env::home_dir().ok_or_else(|| Error::failed("there is no home directory"))?;
    let variable = if cfg!(windows) { "LOCALAPPDATA" } else { "XDG_CONFIG_HOME" };
    let config = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = config.unwrap_or_else(|| home.join(".config"));
    Ok(service::place(asked.manager, asked.scope, &home, &config))
}

fn install(asked: &Asked) -> Result<(), Error> {
    let (text, path) = (made(asked)?, place(asked)?);
    if asked.scope == Scope::User && seat::is_taken(&args::home()?) {
        return Err(Error::failed("a server of this home runs already: end it with `tutu stop --server` first"));
    }
    let was_there = fs::read(&path).ok();
    write(&path, &bytes(&text, asked.manager)).map_err(|error| refused(&path, &error))?;
    for step in service::begin(asked.manager, asked.scope, &path, user()) {
        if let Err(error) = done(&step) {
            // Nothing stays of what did not work.
            remove(asked, &path);
            if let Some(before) = was_there {
                let _ = write(&path, &before);
            }
            return Err(error);
        }
    }
    eprintln!("installed {}; `tutu service status` tells how it is", path.display());
    if asked.manager == Manager::Systemd && asked.scope == Scope::User {
        eprintln!("it runs while you are logged in; `loginctl enable-linger` lets it run without you");
    }
    Ok(())
}

fn uninstall(asked: &Asked) -> Result<(), Error> {
    let path = place(asked)?;
    if !path.exists() {
        return Err(Error::failed(format!("there is no service: {} is not there", path.display())));
    }
    // Before anything is stopped it must be certain that it can be removed.
    let folder = path.parent().unwrap_or(Path::new("/"));
    tempfile::tempfile_in(folder).map_err(|error| refused(&path, &error))?;
    remove(asked, &path);
    if path.exists() {
        return Err(Error::failed(format!("{} could not be removed", path.display())));
    }
    eprintln!("removed {}; models and settings stay (`tutu uninstall` removes them)", path.display());
    Ok(())
}

/// Ends it, whether it ran or not, and removes its file.
fn remove(asked: &Asked, path: &Path) {
    for step in service::end(asked.manager, asked.scope, user()) {
        let _ = done(&step);
    }
    let _ = fs::remove_file(path);
    for step in service::after(asked.manager, asked.scope) {
        let _ = done(&step);
    }
}

fn status(asked: &Asked) -> Result<(), Error> {
    let path = place(asked)?;
    if !path.exists() {
        return Err(Error::failed(format!("there is no service: `tutu service install` makes {}", path.display())));
    }
    println!("{}", path.display());
    let step = service::ask(asked.manager, asked.scope, user());
    let out = command(&step).output().map_err(|error| Error::failed(format!("{}: {error}", step.join(" "))))?;
    print!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if asked.scope == Scope::User {
        let client = Client::Home(seat::socket(&args::home()?));
        let version = client.call(http::Method::GET, "/api/version", None).map_err(Error::failed)?;
        println!("it answers; version {}", version["version"].as_str().unwrap_or_default());
    }
    Ok(())
}

/// What is written: Windows reads its tasks in UTF-16.
fn bytes(text: &str, manager: Manager) -> Vec<u8> {
    match manager {
        Manager::Task => "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
        Manager::Systemd | Manager::Launchd => text.as_bytes().to_vec(),
    }
}

/// Writes a file that is there as a whole or not at all, and that everybody may read.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    #[cfg(unix)]
    fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn refused(path: &Path, error: &std::io::Error) -> Error {
    let next = if error.kind() == std::io::ErrorKind::PermissionDenied {
        "; only an administrator may do this: ask again with sudo, or without --system"
    } else {
        ""
    };
    Error::failed(format!("{} cannot be changed: {error}{next}", path.display()))
}

fn command(step: &Step) -> Command {
    let mut command = Command::new(&step[0]);
    command.args(&step[1..]);
    command
}

/// Does one step; what it says goes into the error.
fn done(step: &Step) -> Result<(), Error> {
    let failed = |why: &dyn std::fmt::Display| Error::failed(format!("`{}` failed: {why}", step.join(" ")));
    let out = command(step).output().map_err(|error| failed(&error))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(failed(&if said.trim().is_empty() { out.status.to_string() } else { said.trim().to_owned() }))
}

/// The number of whoever asks.
fn user() -> u32 {
    #[cfg(unix)]
    let number = std::env::home_dir().and_then(|home| fs::metadata(home).ok()).map_or(0, |meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid()
    });
    #[cfg(not(unix))]
    let number = 0;
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_written_as_windows_reads_it() {
        assert_eq!(bytes("a", Manager::Task), [0xff, 0xfe, b'a', 0]);
        assert_eq!(bytes("a", Manager::Systemd), b"a");
    }

    #[test]
    fn a_file_is_there_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.service");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}

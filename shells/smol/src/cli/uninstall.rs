//! `tutu uninstall`: removes everything of ours from the home, after saying what that is.

use std::{
    fs,
    io::{IsTerminal, Write},
    path::Path,
};

use lexopt::{Arg, Parser};
use tutu_node::kit::Bytes;

use super::{Error, args};

/// What `uninstall` takes.
pub const FLAGS: &[(&str, &str)] =
    &[("--yes", "do not ask"), ("--dry-run", "say what would be removed, and remove nothing")];

/// What a home holds of ours. Anything else in it stays, and the home with it.
const OURS: [&str; 4] = ["db", "models", "config.toml", "history"];

pub fn run(mut parser: Parser) -> Result<(), Error> {
    let (mut sure, mut dry) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("yes") | Arg::Short('y') => sure = true,
            Arg::Long("dry-run") => dry = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let home = args::home()?;
    let found: Vec<_> = OURS.iter().map(|name| home.join(name)).filter(|path| path.exists()).collect();
    if found.is_empty() {
        println!("there is nothing of tutu in {}", home.display());
        return Ok(());
    }
    for path in &found {
        println!("{:<10} {}", Bytes(size(path)).to_string(), path.display());
    }
    if dry {
        return Ok(());
    }
    if !sure && !confirmed()? {
        return Err(Error::failed("nothing was removed; say --yes to remove without being asked"));
    }
    for path in &found {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(|e| Error::failed(format!("{} could not be removed: {e}", path.display())))?;
    }
    // Only when it is empty.
    let _ = fs::remove_dir(&home);
    println!("removed; the program itself is {}", std::env::current_exe()?.display());
    Ok(())
}

fn confirmed() -> Result<bool, Error> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    print!("Remove all of this? [y/N] ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
        }
        Ok(meta) => meta.len(),
        Err(_) => 0,
    }
}

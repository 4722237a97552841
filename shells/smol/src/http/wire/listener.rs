//! Places where somebody may knock: TCP ports, with TLS or without, and a socket in the home.

use std::{
    fmt, fs, io,
    net::{Shutdown, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_rustls::{TlsAcceptor, server::TlsStream};
use smol::{
    Async,
    io::{AsyncRead, AsyncWrite},
};

use super::tls::Tls;
use crate::http::Peer;

#[cfg(unix)]
type UnixSocket = std::os::unix::net::UnixStream;

/// A place where somebody may knock.
pub struct Listener {
    pub(super) socket: Socket,
    pub(super) needs_key: bool,
    tls: Option<Arc<Tls>>,
}

pub(super) enum Socket {
    Tcp(Async<std::net::TcpListener>),
    #[cfg(unix)]
    Unix(Async<std::os::unix::net::UnixListener>, PathBuf),
}

impl Listener {
    /// Listens on a TCP port. Keys are needed there, unless only this machine reaches it.
    ///
    /// # Errors
    /// The port is taken, or may not be used.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::Tcp(Async::<std::net::TcpListener>::bind(address)?);
        Ok(Self { socket, needs_key: !address.ip().to_canonical().is_loopback(), tls: None })
    }

    /// Listens on a socket at `path`, for this user alone. Takes the place of a socket that nobody listens on.
    ///
    /// # Errors
    /// Somebody listens there, or the folder may not be used.
    #[cfg(unix)]
    pub fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        match UnixSocket::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() || meta.is_dir()) => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(_) => {}
        }
        // Nobody else may open it at any moment: it is made in a folder that is closed to others.
        let folder = tempfile::Builder::new().prefix(".s").tempdir_in(path.parent().unwrap_or(Path::new(".")))?;
        let made = folder.path().join("s");
        let socket = Async::<std::os::unix::net::UnixListener>::bind(&made)?;
        fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
        fs::rename(&made, path)?;
        Ok(Self { socket: Socket::Unix(socket, path.into()), needs_key: false, tls: None })
    }

    /// The same with TLS.
    pub fn with_tls(mut self, tls: &Arc<Tls>) -> Self {
        self.tls = Some(Arc::clone(tls));
        self
    }

    /// The same, with keys needed or not.
    pub fn with_keys(mut self, needs_key: bool) -> Self {
        self.needs_key = needs_key;
        self
    }

    /// Whether those who come in need a key.
    pub fn needs_key(&self) -> bool {
        self.needs_key
    }

    /// The port it listens on; none for a socket in the home.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.get_ref().local_addr().ok(),
            #[cfg(unix)]
            Socket::Unix(..) => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Knock, Peer)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                // Without it, small answers wait for the other side's delayed acknowledgement.
                stream.get_ref().set_nodelay(true)?;
                let knock = match &self.tls {
                    Some(tls) => Knock::Tls(tls.acceptor(), stream),
                    None => Knock::Plain(Stream::Tcp(stream)),
                };
                Ok((knock, Peer::Tcp(address)))
            }
            #[cfg(unix)]
            Socket::Unix(socket, _) => Ok((Knock::Plain(Stream::Unix(socket.accept().await?.0)), Peer::Unix)),
        }
    }
}

#[cfg(unix)]
impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address()).field("needs_key", &self.needs_key).finish()
    }
}

/// Somebody who was let in and has not said anything yet.
pub(super) enum Knock {
    Plain(Stream),
    Tls(TlsAcceptor, Async<std::net::TcpStream>),
}

impl Knock {
    /// Shakes hands, where that is needed. The caller limits the time.
    pub async fn open(self) -> io::Result<Stream> {
        match self {
            Self::Plain(stream) => Ok(stream),
            Self::Tls(acceptor, stream) => Ok(Stream::Tls(Box::new(acceptor.accept(stream).await?))),
        }
    }
}

/// A connection of either kind: one type, so that all above it is compiled once.
pub(super) enum Stream {
    Tcp(Async<std::net::TcpStream>),
    Tls(Box<TlsStream<Async<std::net::TcpStream>>>),
    #[cfg(unix)]
    Unix(Async<UnixSocket>),
}

macro_rules! each {
    ($self:ident, $stream:ident => $do:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $do,
            Stream::Tls($stream) => $do,
            #[cfg(unix)]
            Stream::Unix($stream) => $do,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, out))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    /// Says to the other side that nothing more comes; it may still send.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.get_mut() {
            Stream::Tcp(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Stream::Tls(stream) => {
                ready!(Pin::new(&mut *stream).poll_close(cx))?;
                stream.get_ref().0.get_ref().shutdown(Shutdown::Write)
            }
            #[cfg(unix)]
            Stream::Unix(stream) => stream.get_ref().shutdown(Shutdown::Write),
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_socket_in_the_home_is_for_its_owner_and_is_taken_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tutu.sock");
        let first = Listener::unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_crash_left_is_taken_over_and_a_file_is_not() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tutu.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listener::unix(&path).unwrap());
        fs::write(&path, "mine").unwrap();
        assert!(Listener::unix(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn keys_are_needed_where_others_reach_us() {
        assert!(!Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap().needs_key());
        assert!(Listener::tcp("0.0.0.0:0".parse().unwrap()).unwrap().needs_key());
    }
}

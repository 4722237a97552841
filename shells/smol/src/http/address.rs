//! Where to listen, as `--host`, `--port` and OLLAMA_HOST say it: `[scheme://]host[:port][/path]`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
};

/// Ollama's port, which clients expect.
pub const PORT: u16 = 11434;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// A port; 0 lets the system choose when listening.
    pub port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// What stands for the port is none.
    Port(String),
    /// What stands for the host is none.
    Host(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(text) => write!(f, "{text:?} is no port; a port is a number from 0 to 65535"),
            Self::Host(text) => write!(f, "{text:?} is no host; write 127.0.0.1:11434, [::1]:11434 or a name"),
        }
    }
}

impl std::error::Error for Error {}

impl Default for Address {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: PORT }
    }
}

impl Address {
    /// Reads an address. A scheme sets the port (http 80, https 443) where none is written; a path is passed over.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        let (port, rest) = match text.split_once("://") {
            Some(("http", rest)) => (80, rest),
            Some(("https", rest)) => (443, rest),
            Some((_, rest)) => (PORT, rest),
            None => (PORT, text),
        };
        let place = rest.split('/').next().unwrap_or_default();
        let (host, port) = match split(place) {
            (host, Some(text)) => (host, text.parse().map_err(|_| Error::Port(text.to_owned()))?),
            (host, None) => (host, port),
        };
        let host = match host {
            "" => "127.0.0.1",
            host => host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || !c.is_ascii();
        if host.parse::<IpAddr>().is_err()
            && !host.split_once('%').map_or(host, |(host, _)| host).chars().all(|c| is_name(c) || c == ':')
        {
            return Err(Error::Host(host.to_owned()));
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The IP address that the host is; nothing where it is a name.
    pub fn parse_ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// All socket addresses of it. Asks the system, which may ask others: waits.
    ///
    /// # Errors
    /// The name is not known.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

/// Host and port: the last colon parts them, but for an IPv6 address without brackets.
fn split(place: &str) -> (&str, Option<&str>) {
    if place.parse::<IpAddr>().is_ok() {
        return (place, None);
    }
    match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, (!port.is_empty()).then_some(port)),
        _ => (place, None),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_ollama_does() {
        for (text, address) in [
            ("", "127.0.0.1:11434"),
            ("0.0.0.0", "0.0.0.0:11434"),
            ("1.2.3.4:5678", "1.2.3.4:5678"),
            (":1234", "127.0.0.1:1234"),
            ("example.com", "example.com:11434"),
            ("example.com:", "example.com:11434"),
            ("http://example.com", "example.com:80"),
            ("https://example.com", "example.com:443"),
            ("https://example.com:56789/path", "example.com:56789"),
            ("example.com:56789/path", "example.com:56789"),
            ("::1", "[::1]:11434"),
            ("[::1]", "[::1]:11434"),
            ("[::1]:1337", "[::1]:1337"),
            ("http://[::]:80/", "[::]:80"),
            (" \"localhost:1\" ", "localhost:1"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), address, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!(Address::parse("a:66000"), Err(Error::Port("66000".into())));
        assert_eq!(Address::parse("a:-1"), Err(Error::Port("-1".into())));
        assert_eq!(Address::parse("http://a:b"), Err(Error::Port("b".into())));
        assert!(matches!(Address::parse("a b"), Err(Error::Host(_))));
        assert!(matches!(Address::parse("user@host"), Err(Error::Host(_))));
    }
}

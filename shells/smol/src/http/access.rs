//! What was asked and what became of it, for the log. Never what stood in it.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;

use super::{Method, Peer, Request, trace::Trace};
use crate::log::Field;

/// One request, after its answer ended.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its name.
    pub id: Arc<str>,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// Who asked.
    pub peer: Peer,
    /// With which key.
    pub key: Option<Arc<str>>,
    /// GET, POST, ...
    pub method: Method,
    /// The path, without its query.
    pub path: String,
    /// The pattern of the route that answered.
    pub route: Option<&'static str>,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer that were sent.
    pub bytes: u64,
    /// Until the head of the answer.
    pub head: Duration,
    /// Until its end.
    pub whole: Duration,
    /// Whether it was sent whole; else the reader left, or we broke off.
    pub finished: bool,
}

impl Access {
    /// What is known of a request when it comes.
    pub fn of(request: &Request) -> Self {
        Self {
            id: Arc::clone(&request.id),
            trace: request.trace.clone(),
            peer: request.peer,
            key: None,
            method: request.method.clone(),
            path: request.path.clone(),
            route: None,
            status: 0,
            bytes: 0,
            head: Duration::ZERO,
            whole: Duration::ZERO,
            finished: false,
        }
    }
}

impl Access {
    /// As names and values.
    pub fn fields(&self) -> Vec<Field<'static>> {
        let ms = |time: Duration| Value::from(time.as_micros() as f64 / 1000.0);
        let peer = match self.peer {
            Peer::Tcp(address) => address.ip().to_string(),
            Peer::Unix => "unix".into(),
        };
        let mut fields: Vec<Field<'static>> = vec![
            ("method", self.method.as_str().into()),
            ("path", self.path.clone().into()),
            ("status", self.status.into()),
            ("bytes", self.bytes.into()),
            ("head_ms", ms(self.head)),
            ("ms", ms(self.whole)),
            ("finished", self.finished.into()),
            ("peer", peer.into()),
            ("id", (*self.id).into()),
            ("trace", format!("{:032x}", self.trace.id).into()),
            ("span", format!("{:016x}", self.trace.span).into()),
        ];
        fields.extend(self.key.as_deref().map(|key| ("key", key.into())));
        fields
    }
}

/// What is done with every [`Access`]. It must not wait.
pub type Log = Arc<dyn Fn(&Access) + Send + Sync>;

/// As one line of `key=value`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
        // The path holds neither blanks nor control characters: no such request is let in.
        write!(f, "method={} path={} status={} bytes={}", self.method, self.path, self.status, self.bytes)?;
        write!(f, " head_ms={} ms={} finished={}", ms(self.head), ms(self.whole), self.finished)?;
        match self.peer {
            Peer::Tcp(address) => write!(f, " peer={}", address.ip())?,
            Peer::Unix => write!(f, " peer=unix")?,
        }
        if let Some(key) = &self.key {
            write!(f, " key={key}")?;
        }
        write!(f, " id={} trace={:032x} span={:016x}", self.id, self.trace.id, self.trace.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_without_what_stood_in_it() {
        let mut access = Access::of(&Request::new(Method::POST, "/api/chat?secret"));
        access.key = Some("laptop".into());
        access.status = 200;
        access.whole = Duration::from_micros(1500);
        let line = access.to_string();
        assert!(
            line.starts_with(
                "method=POST path=/api/chat status=200 bytes=0 head_ms=0 ms=1.5 finished=false peer=unix key=laptop id="
            ),
            "{line}"
        );
        assert!(!line.contains("secret"));
        let fields = access.fields();
        assert!(fields.contains(&("key", "laptop".into())) && fields.contains(&("ms", 1.5.into())));
        assert!(!fields.iter().any(|(_, value)| value.to_string().contains("secret")));
    }
}

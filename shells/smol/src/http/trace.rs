//! Which trace a request belongs to, as W3C Trace Context has it.
//!
//! Source: W3C Recommendation *Trace Context* (23 November 2021), §3.2 and §3.3.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
};

use http::HeaderMap;

/// Characters of a `tracestate` that are passed on; longer ones are dropped (§3.3.1.5 asks for at least 512).
const STATE_MAX: usize = 512;

/// A trace and our place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The whole trace.
    pub id: u128,
    /// The span of whoever asked us; 0 when we begin the trace.
    pub parent: u64,
    /// Our own span.
    pub span: u64,
    /// Whether the asker records it.
    pub sampled: bool,
    /// What other tracing systems put there; passed on, never read.
    pub state: Option<Box<str>>,
}

impl Trace {
    /// Goes on with the trace of these header fields, or begins one.
    pub fn of(parent: Option<&str>, state: Option<&str>) -> Self {
        let span = random().max(1);
        match parent.and_then(parse) {
            Some((id, parent, sampled)) => {
                let state = state.filter(|state| state.len() <= STATE_MAX).map(Into::into);
                Self { id, parent, span, sampled, state }
            }
            None => {
                let id = (u128::from(random()) << 64 | u128::from(random())).max(1);
                Self { id, parent: 0, span, sampled: false, state: None }
            }
        }
    }
}

impl Trace {
    /// The header fields that name it, for an answer and for what we ask of others.
    pub fn write(&self, mut field: impl FnMut(&'static str, &str)) {
        field("traceparent", &self.to_string());
        if let Some(state) = &self.state {
            field("tracestate", state);
        }
    }
}

/// The trace that these header fields name, or a new one. A `traceparent` that is there twice is none (§3.2);
/// several `tracestate` are one list (§3.3.1).
pub(super) fn of_fields(fields: &HeaderMap) -> Trace {
    let all = |name: &str| fields.get_all(name).iter().map(|value| value.to_str().ok()).collect::<Option<Vec<_>>>();
    let parents = all("traceparent").unwrap_or_default();
    let states = all("tracestate").map(|states| states.join(",")).filter(|states| !states.is_empty());
    match parents[..] {
        [parent] => Trace::of(Some(parent), states.as_deref()),
        _ => Trace::of(None, None),
    }
}

/// As a `traceparent` of what we ask of others.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.id, self.span, u8::from(self.sampled))
    }
}

/// Trace, parent and whether it is sampled (§3.2.2). Versions after 00 may have more fields after these (§3.2.4).
fn parse(text: &str) -> Option<(u128, u64, bool)> {
    let mut fields = text.split('-');
    let (version, id, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_known = version == "00" && fields.next().is_none();
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_later = version != "00" && version != "ff" && hex(version, 2);
    if !(is_known || is_later) || !hex(id, 32) || !hex(parent, 16) || !hex(flags, 2) {
        return None;
    }
    let id = u128::from_str_radix(id, 16).ok().filter(|id| *id != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
    Some((id, parent, u8::from_str_radix(flags, 16).ok()? & 1 == 1))
}

/// A number nobody else draws: for names, not for secrets.
pub(super) fn random() -> u64 {
    // Each state has keys of its own, seeded by the system once a thread and counted up.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_gone_on_with() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::of(Some(parent), Some("a=b"));
        assert_eq!(
            (trace.id, trace.parent, trace.sampled),
            (0x4bf92f3577b34da6a3ce929d0e0e4736, 0xf067aa0ba902b7, true)
        );
        assert_eq!(trace.state.as_deref(), Some("a=b"));
        assert_eq!(trace.to_string(), format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", trace.span));
        assert_ne!(trace.span, trace.parent);
    }

    #[test]
    fn fields_that_are_there_twice_are_a_list_or_none() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut fields = HeaderMap::new();
        for (name, value) in [("tracestate", "a=b"), ("traceparent", parent), ("tracestate", "c=d")] {
            fields.append(name, value.parse().unwrap());
        }
        let trace = of_fields(&fields);
        assert_eq!((trace.parent, trace.state.as_deref()), (0xf067aa0ba902b7, Some("a=b,c=d")));
        let mut said = Vec::new();
        trace.write(|name, value| said.push(format!("{name}: {value}")));
        assert_eq!(said, [format!("traceparent: {trace}"), "tracestate: a=b,c=d".into()]);
        fields.append("traceparent", parent.parse().unwrap());
        assert_eq!(of_fields(&fields).parent, 0);
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        for text in [
            "",
            "00",
            &good.replace('4', "G"),
            &good.to_uppercase(),
            &good.replacen("00", "ff", 1),
            &format!("{good}-more"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-00",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        ] {
            let trace = Trace::of(Some(text), Some("a=b"));
            assert_eq!((trace.parent, trace.state.clone()), (0, None), "{text}");
            assert_ne!(trace.id, 0);
        }
        assert_eq!(Trace::of(Some(&format!("{}-more", good.replacen("00", "01", 1))), None).parent, 0xf067aa0ba902b7);
        assert_ne!(Trace::of(None, None).id, Trace::of(None, None).id);
    }
}

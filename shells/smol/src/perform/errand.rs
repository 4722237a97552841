//! On whose behalf something is fetched or sent.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::http::trace::Trace;

/// Somebody who waits, and the trace that it belongs to. Clones are the same errand.
#[derive(Clone, Debug, Default)]
pub struct Errand {
    trace: Option<Arc<Trace>>,
    given_up: Arc<AtomicBool>,
}

impl Errand {
    /// One that goes on with a trace: registries are told of it.
    pub fn of(trace: Trace) -> Self {
        Self { trace: Some(Arc::new(trace)), given_up: Arc::default() }
    }

    /// Nobody waits any more: what is under way stops, and what came stays for who asks next.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits any more.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// The trace, if there is one.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }
}

//! HTTP: who asks is let in, understood and answered; routes are added by those who know the answers.
//!
//! | room | what it does |
//! |---|---|
//! | [`exchange`] | requests and answers, in words of our own |
//! | [`body`], [`coding`], [`feed`] | what comes with a request, compressed or not; what an answer is made of, streams too |
//! | [`json`] | bodies read as JSON |
//! | [`router`] | which handler answers which path (tide) |
//! | [`wire`] | connections, limits, time-outs (hyper) |
//! | [`guard`], [`origins`], [`keys`] | who is let in, from which pages, with which keys |
//! | [`access`], [`counters`] | what was asked, for the log and for `/metrics` |
//! | [`address`] | where to listen |
//! | [`ollama`], [`openai`], [`anthropic`] | the APIs that clients know |
//! | [`basics`] | routes that need no engine |
//! | [`observe`] | what goes on here, for those who watch |
//! | [`refusal`], [`trace`] | refusals in the shape that clients know; W3C traces |

pub mod access;
pub mod address;
pub mod anthropic;
pub mod basics;
pub mod body;
pub mod coding;
pub mod counters;
pub mod exchange;
pub mod feed;
pub mod guard;
pub mod json;
pub mod keys;
pub mod observe;
pub mod ollama;
pub mod openai;
pub mod origins;
pub mod refusal;
pub mod router;
pub mod trace;
pub mod wire;

pub use body::{Body, Fault};
pub use counters::Counters;
pub use exchange::{Answer, Method, Peer, Request, Scope, StatusCode};
pub use feed::{Feed, Gone};
pub use guard::Guard;
pub use json::{Malformed, Read};
pub use router::Router;
pub use wire::{Limits, Listener, Running, Server, Tls, TlsError};

//! What a language model is: its file, its tokens, its template, its forward pass as a value,
//! how the next token is chosen.
//!
//! Nothing here waits, allocates on the word of a file, or knows a thread; a backend computes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod arch;
pub mod backend;
pub mod batch;
pub mod chat;
pub mod convert;
pub mod embed;
pub mod gguf;
pub mod gotmpl;
pub mod grammar;
pub mod guess;
pub mod kv;
pub mod lora;
pub mod perplexity;
pub mod plan;
pub mod prefix;
pub mod quant;
pub mod reference;
pub mod sample;
pub mod token;
pub mod weights;

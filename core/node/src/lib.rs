//! Every protocol of TuTU, and the node that joins them: no clock, no chance of its own, no I/O.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

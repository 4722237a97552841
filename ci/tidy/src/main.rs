//! Checks what no lint can.
fn main() {}

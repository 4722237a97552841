//! Who is there, and how to reach them.

pub mod swim;

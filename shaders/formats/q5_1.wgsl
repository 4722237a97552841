// Q5_1: low four bits a word an octet, then fifth bits a byte an octet, then two halves a block of 32: `d q + m`.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return halves_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight { return five_bits(w[row * p.octets + octet], byte_at(p.h_at, row * p.octets + octet)); }

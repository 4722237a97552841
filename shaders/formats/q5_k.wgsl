// Q5_K: low four bits a word an octet, then fifth bits a byte an octet, then four words a block of 256 as in Q4_K.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return six_bits_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight { return five_bits(w[row * p.octets + octet], byte_at(p.h_at, row * p.octets + octet)); }

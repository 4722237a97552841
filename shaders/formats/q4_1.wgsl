// Q4_1: quanta a word an octet, then two halves a block of 32: `d q + m`.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return halves_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight { return four_bits(w[row * p.octets + octet]); }

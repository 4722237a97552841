// IQ4_NL: quanta a word an octet, then a half a block of 32: `d known[q]`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return half_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight { return by_table(IQ4, w[row * p.octets + octet]); }

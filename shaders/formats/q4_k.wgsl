// Q4_K: quanta a word an octet, then four words a block of 256, packed as in the file: `d scale q - m minimum`.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return six_bits_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight { return four_bits(w[row * p.octets + octet]); }

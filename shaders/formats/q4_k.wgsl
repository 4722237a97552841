// Q4_K: quanta a word an octet, then four words a block of 256, packed as in the file: `d scale q - m minimum`.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return six_bits_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight { return four_bits(w[row * p.octets + octet]); }
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> { return nibbles_packed(w[row * p.octets + octet]); }
//#end
//#if BLOCKS
alias Quanta = vec4<u32>;
fn quanta(block: u32) -> Quanta { return w4[block]; }
fn part(q: Quanta, i: u32) -> Eight { return four_bits(q[i]); }
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> { return nibbles_packed(q[i]); }
//#end
alias Scales = vec4<u32>;
const SPAN: u32 = 8u;
fn scales(span: u32) -> Scales { return w4[(p.s_at >> 2u) + span]; }
fn scale(s: Scales, i: u32) -> vec2<f32> { return six_bits(s, i >> 1u); }
//#end

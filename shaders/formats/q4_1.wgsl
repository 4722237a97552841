// Q4_1: quanta a word an octet, then two halves a block of 32: `d q + m`.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return halves_of_block(row, octet); }
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
alias Scales = vec2<f32>;
const SPAN: u32 = 1u;
fn scales(span: u32) -> Scales { return halves(w[p.s_at + span]); }
fn scale(s: Scales, i: u32) -> vec2<f32> { return s; }
//#end

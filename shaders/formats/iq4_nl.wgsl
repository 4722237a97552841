// IQ4_NL: quanta a word an octet, then a half a block of 32: `d known[q]`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return half_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight { return by_table(IQ4, w[row * p.octets + octet]); }
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> { return packed_by_table(IQ4, w[row * p.octets + octet]); }
//#end
//#if BLOCKS
alias Quanta = vec4<u32>;
fn quanta(block: u32) -> Quanta { return w4[block]; }
fn part(q: Quanta, i: u32) -> Eight { return by_table(IQ4, q[i]); }
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> { return packed_by_table(IQ4, q[i]); }
//#end
alias Scales = f32;
const SPAN: u32 = 1u;
fn scales(span: u32) -> Scales { return half_at(p.s_at, span); }
fn scale(s: Scales, i: u32) -> vec2<f32> { return vec2<f32>(s, 0.0); }
//#end

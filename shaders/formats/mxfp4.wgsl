// MXFP4: quanta a word an octet, then an exponent (E8M0) a block of 32: `2^(e - 128) known[q]`, the values doubled.
// Scales of 2^-127 and less are taken for 0, as drivers may take them anyway.
const MINIMA: bool = false;
fn power(e: u32) -> f32 { return select(0.0, bitcast<f32>((max(e, 1u) - 1u) << 23u), e > 1u); }
fn group(row: u32, octet: u32) -> vec2<f32> {
    return vec2<f32>(power(byte_at(p.s_at, row * (p.octets >> 2u) + (octet >> 2u))), 0.0);
}
fn eight(row: u32, octet: u32) -> Eight { return by_table(MXFP4, w[row * p.octets + octet]); }
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> { return packed_by_table(MXFP4, w[row * p.octets + octet]); }
//#end
//#if BLOCKS
alias Quanta = vec4<u32>;
fn quanta(block: u32) -> Quanta { return w4[block]; }
fn part(q: Quanta, i: u32) -> Eight { return by_table(MXFP4, q[i]); }
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> { return packed_by_table(MXFP4, q[i]); }
//#end
alias Scales = f32;
const SPAN: u32 = 1u;
fn scales(span: u32) -> Scales { return power(byte_at(p.s_at, span)); }
fn scale(s: Scales, i: u32) -> vec2<f32> { return vec2<f32>(s, 0.0); }
//#end

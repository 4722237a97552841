// IQ4_XS: quanta a word an octet, then two words a block of 256: a half d, high two bits of eight scales, their low four
// bits: `d (scale - 32) known[q]`.
const MINIMA: bool = false;
fn six_bit_scale(words: vec2<u32>, s: u32) -> f32 {
    let scale = ((words.y >> (4u * s)) & 15u) | (((words.x >> (16u + 2u * s)) & 3u) << 4u);
    return half_of(words.x & 0xffffu) * (f32(scale) - 32.0);
}
fn group(row: u32, octet: u32) -> vec2<f32> {
    let at = p.s_at + 2u * (row * (p.octets >> 5u) + (octet >> 5u));
    return vec2<f32>(six_bit_scale(vec2<u32>(w[at], w[at + 1u]), (octet & 31u) >> 2u), 0.0);
}
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
alias Scales = vec2<u32>;
const SPAN: u32 = 8u;
fn scales(span: u32) -> Scales { return vec2<u32>(w[p.s_at + 2u * span], w[p.s_at + 2u * span + 1u]); }
fn scale(s: Scales, i: u32) -> vec2<f32> { return vec2<f32>(six_bit_scale(s, i >> 1u), 0.0); }
//#end

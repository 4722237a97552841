// Q2_K: quanta sixteen bits an octet, then five words a block of 256: halves d and m, and sixteen bytes, the low half
// a scale and the high half a minimum for 16 elements: `d scale q - m minimum`.
const MINIMA: bool = true;
fn scale_and_minimum(dm: u32, byte: u32) -> vec2<f32> {
    return halves(dm) * vec2<f32>(f32(byte & 15u), -f32((byte >> 4u) & 15u));
}
fn two_bits(q: u32) -> Eight { return Eight(floats(twos(q)), floats(twos(q >> 8u))); }
fn group(row: u32, octet: u32) -> vec2<f32> {
    let at = p.s_at + 5u * (row * (p.octets >> 5u) + (octet >> 5u));
    return scale_and_minimum(w[at], byte_at(at + 1u, (octet & 31u) >> 1u));
}
fn eight(row: u32, octet: u32) -> Eight {
    return two_bits(short_at(0u, row * p.octets + octet));
}
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> { return twos_packed(short_at(0u, row * p.octets + octet)); }
//#end
//#if BLOCKS
alias Quanta = vec2<u32>;
fn quanta(block: u32) -> Quanta { return vec2<u32>(w[2u * block], w[2u * block + 1u]); }
fn part(q: Quanta, i: u32) -> Eight { return two_bits(q[i >> 1u] >> (16u * (i & 1u))); }
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> { return twos_packed(q[i >> 1u] >> (16u * (i & 1u))); }
//#end
struct Scales { dm: u32, sixteen: vec4<u32> }
const SPAN: u32 = 8u;
fn scales(span: u32) -> Scales {
    let at = p.s_at + 5u * span;
    return Scales(w[at], vec4<u32>(w[at + 1u], w[at + 2u], w[at + 3u], w[at + 4u]));
}
fn scale(s: Scales, i: u32) -> vec2<f32> { return scale_and_minimum(s.dm, s.sixteen[i >> 2u] >> (8u * (i & 3u))); }
//#end

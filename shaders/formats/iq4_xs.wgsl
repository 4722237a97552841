// IQ4_XS: quanta a word an octet, then two words a block of 256: a half d, high two bits of eight scales, their low four
// bits: `d (scale - 32) known[q]`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> {
    let at = p.s_at + 2u * (row * (p.octets >> 5u) + (octet >> 5u));
    let s = (octet & 31u) >> 2u;
    let scale = ((w[at + 1u] >> (4u * s)) & 15u) | (((w[at] >> (16u + 2u * s)) & 3u) << 4u);
    return vec2<f32>(half_of(w[at] & 0xffffu) * (f32(scale) - 32.0), 0.0);
}
// The sixteen values of IQ4, as signed bytes.
fn known(q: vec4<u32>) -> vec4<f32> {
    let low = select(vec4<u32>(0xbfad9881u), vec4<u32>(0xf6eaddcfu), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let high = select(vec4<u32>(0x26190d01u), vec4<u32>(0x71594535u), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let word = select(low, high, (q & vec4<u32>(8u)) != vec4<u32>(0u));
    let byte = (word >> ((q & vec4<u32>(3u)) << vec4<u32>(3u))) << vec4<u32>(24u);
    return vec4<f32>(vec4<i32>(byte) >> vec4<u32>(24u));
}
fn eight(row: u32, octet: u32) -> Eight {
    let q = w[row * p.octets + octet];
    return Eight(known(low_nibbles(q)), known(high_nibbles(q)));
}

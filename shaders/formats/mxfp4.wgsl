// MXFP4: quanta a word an octet, then an exponent (E8M0) a block of 32: `2^(e - 128) known[q]`, the values doubled.
// Scales of 2^-127 and less are taken for 0, as drivers may take them anyway.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> {
    let e = byte_at(p.s_at, row * (p.octets >> 2u) + (octet >> 2u));
    return vec2<f32>(select(0.0, bitcast<f32>((max(e, 1u) - 1u) << 23u), e > 1u), 0.0);
}
// The sixteen values of E2M1, doubled, as signed bytes.
fn known(q: vec4<u32>) -> vec4<f32> {
    let low = select(vec4<u32>(0x03020100u), vec4<u32>(0x0c080604u), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let high = select(vec4<u32>(0xfdfeff00u), vec4<u32>(0xf4f8fafcu), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let word = select(low, high, (q & vec4<u32>(8u)) != vec4<u32>(0u));
    let byte = (word >> ((q & vec4<u32>(3u)) << vec4<u32>(3u))) << vec4<u32>(24u);
    return vec4<f32>(vec4<i32>(byte) >> vec4<u32>(24u));
}
fn eight(row: u32, octet: u32) -> Eight {
    let q = w[row * p.octets + octet];
    return Eight(known(low_nibbles(q)), known(high_nibbles(q)));
}

// Q4_0: quanta a word an octet, then a half a block of 32: `d (q - 8)`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> {
    return vec2<f32>(half_at(p.s_at, row * (p.octets >> 2u) + (octet >> 2u)), 0.0);
}
fn eight(row: u32, octet: u32) -> Eight {
    let q = w[row * p.octets + octet];
    return Eight(vec4<f32>(low_nibbles(q)) - 8.0, vec4<f32>(high_nibbles(q)) - 8.0);
}

// Q8_0: quanta two words an octet, then a half a block of 32: `d q`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> {
    return vec2<f32>(half_at(p.s_at, row * (p.octets >> 2u) + (octet >> 2u)), 0.0);
}
fn eight(row: u32, octet: u32) -> Eight {
    let at = 2u * (row * p.octets + octet);
    return Eight(vec4<f32>(unpack4xI8(w[at])), vec4<f32>(unpack4xI8(w[at + 1u])));
}

// Q2_K: quanta sixteen bits an octet, then five words a block of 256: halves d and m, and sixteen bytes, the low half
// a scale and the high half a minimum for 16 elements: `d scale q - m minimum`.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> {
    let at = p.s_at + 5u * (row * (p.octets >> 5u) + (octet >> 5u));
    let dm = halves(w[at]);
    let byte = byte_at(at + 1u, (octet & 31u) >> 1u);
    return vec2<f32>(dm.x * f32(byte & 15u), -dm.y * f32(byte >> 4u));
}
fn eight(row: u32, octet: u32) -> Eight {
    let q = short_at(0u, row * p.octets + octet);
    return Eight(vec4<f32>(twos(q)), vec4<f32>(twos(q >> 8u)));
}

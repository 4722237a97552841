// Q4_1: quanta a word an octet, then two halves a block of 32: `d q + m`.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return halves(w[p.s_at + row * (p.octets >> 2u) + (octet >> 2u)]); }
fn eight(row: u32, octet: u32) -> Eight {
    let q = w[row * p.octets + octet];
    return Eight(vec4<f32>(low_nibbles(q)), vec4<f32>(high_nibbles(q)));
}

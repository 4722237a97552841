// Q8_0: quanta two words an octet, then a half a block of 32: `d q`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return half_of_block(row, octet); }
fn eight_bits(a: u32, b: u32) -> Eight { return Eight(vec4<f32>(unpack4xI8(a)), vec4<f32>(unpack4xI8(b))); }
fn eight(row: u32, octet: u32) -> Eight {
    let at = 2u * (row * p.octets + octet);
    return eight_bits(w[at], w[at + 1u]);
}

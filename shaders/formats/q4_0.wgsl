// Q4_0: quanta a word an octet, then a half a block of 32: `d (q - 8)`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return half_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight {
    let q = four_bits(w[row * p.octets + octet]);
    return Eight(q.a - 8.0, q.b - 8.0);
}

// Q5_0: low four bits a word an octet, then fifth bits a byte an octet, then a half a block of 32: `d (q - 16)`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return half_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight {
    let q = five_bits(w[row * p.octets + octet], byte_at(p.h_at, row * p.octets + octet));
    return Eight(q.a - 16.0, q.b - 16.0);
}

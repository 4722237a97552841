// Q3_K: low two bits sixteen bits an octet, then third bits a byte an octet, then three words a block of 256: low four
// bits of sixteen scales, and their high two bits; then a half a block: `d (scale - 32) (q - 4)`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> {
    let block = row * (p.octets >> 5u) + (octet >> 5u);
    let at = p.s_at + 3u * block;
    let s = (octet & 31u) >> 1u;
    let four = (w[at + (s >> 3u)] >> (4u * (s & 7u))) & 15u;
    let two = (w[at + 2u] >> (2u * s)) & 3u;
    return vec2<f32>(half_at(p.d_at, block) * (f32(four | (two << 4u)) - 32.0), 0.0);
}
fn eight(row: u32, octet: u32) -> Eight {
    let at = row * p.octets + octet;
    let q = short_at(0u, at);
    let h = byte_at(p.h_at, at);
    return Eight(
        vec4<f32>(twos(q) | (ones(h) << vec4<u32>(2u))) - 4.0,
        vec4<f32>(twos(q >> 8u) | (ones(h >> 4u) << vec4<u32>(2u))) - 4.0,
    );
}

// Q5_1: low four bits a word an octet, then fifth bits a byte an octet, then two halves a block of 32: `d q + m`.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return halves(w[p.s_at + row * (p.octets >> 2u) + (octet >> 2u)]); }
fn eight(row: u32, octet: u32) -> Eight {
    let at = row * p.octets + octet;
    let q = w[at];
    let h = byte_at(p.h_at, at);
    return Eight(
        vec4<f32>(low_nibbles(q) | (ones(h) << vec4<u32>(4u))),
        vec4<f32>(high_nibbles(q) | (ones(h >> 4u) << vec4<u32>(4u))),
    );
}

// Q5_0: low four bits a word an octet, then fifth bits a byte an octet, then a half a block of 32: `d (q - 16)`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return half_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight {
    let q = five_bits(w[row * p.octets + octet], byte_at(p.h_at, row * p.octets + octet));
    return Eight(q.a - 16.0, q.b - 16.0);
}
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> {
    let at = row * p.octets + octet;
    return less(nibbles_packed(w[at]) | (ones_packed(byte_at(p.h_at, at)) << vec2<u32>(4u)), 0x10101010u);
}
//#end
//#if BLOCKS
struct Quanta { low: vec4<u32>, high: u32 }
fn quanta(block: u32) -> Quanta { return Quanta(w4[block], w[p.h_at + block]); }
fn part(q: Quanta, i: u32) -> Eight {
    let e = five_bits(q.low[i], q.high >> (8u * i));
    return Eight(e.a - 16.0, e.b - 16.0);
}
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> {
    return less(nibbles_packed(q.low[i]) | (ones_packed(q.high >> (8u * i)) << vec2<u32>(4u)), 0x10101010u);
}
//#end
alias Scales = f32;
const SPAN: u32 = 1u;
fn scales(span: u32) -> Scales { return half_at(p.s_at, span); }
fn scale(s: Scales, i: u32) -> vec2<f32> { return vec2<f32>(s, 0.0); }
//#end

// Q5_K: low four bits a word an octet, then fifth bits a byte an octet, then four words a block of 256 as in Q4_K.
const MINIMA: bool = true;
fn group(row: u32, octet: u32) -> vec2<f32> { return six_bits_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight { return five_bits(w[row * p.octets + octet], byte_at(p.h_at, row * p.octets + octet)); }
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> {
    let at = row * p.octets + octet;
    return nibbles_packed(w[at]) | (ones_packed(byte_at(p.h_at, at)) << vec2<u32>(4u));
}
//#end
//#if BLOCKS
struct Quanta { low: vec4<u32>, high: u32 }
fn quanta(block: u32) -> Quanta { return Quanta(w4[block], w[p.h_at + block]); }
fn part(q: Quanta, i: u32) -> Eight { return five_bits(q.low[i], q.high >> (8u * i)); }
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> {
    return nibbles_packed(q.low[i]) | (ones_packed(q.high >> (8u * i)) << vec2<u32>(4u));
}
//#end
alias Scales = vec4<u32>;
const SPAN: u32 = 8u;
fn scales(span: u32) -> Scales { return w4[(p.s_at >> 2u) + span]; }
fn scale(s: Scales, i: u32) -> vec2<f32> { return six_bits(s, i >> 1u); }
//#end

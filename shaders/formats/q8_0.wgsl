// Q8_0: quanta two words an octet, then a half a block of 32: `d q`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return half_of_block(row, octet); }
fn eight_bits(a: u32, b: u32) -> Eight { return Eight(vec4<f32>(unpack4xI8(a)), vec4<f32>(unpack4xI8(b))); }
fn eight(row: u32, octet: u32) -> Eight {
    let at = 2u * (row * p.octets + octet);
    return eight_bits(w[at], w[at + 1u]);
}
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> {
    let at = 2u * (row * p.octets + octet);
    return vec2<u32>(w[at], w[at + 1u]);
}
//#end
//#if BLOCKS
struct Quanta { a: vec4<u32>, b: vec4<u32> }
fn quanta(block: u32) -> Quanta { return Quanta(w4[2u * block], w4[2u * block + 1u]); }
fn part(q: Quanta, i: u32) -> Eight {
    let words = select(q.b, q.a, i < 2u);
    return eight_bits(words[2u * (i & 1u)], words[2u * (i & 1u) + 1u]);
}
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> {
    let words = select(q.b, q.a, i < 2u);
    return vec2<u32>(words[2u * (i & 1u)], words[2u * (i & 1u) + 1u]);
}
//#end
alias Scales = f32;
const SPAN: u32 = 1u;
fn scales(span: u32) -> Scales { return half_at(p.s_at, span); }
fn scale(s: Scales, i: u32) -> vec2<f32> { return vec2<f32>(s, 0.0); }
//#end

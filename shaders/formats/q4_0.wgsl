// Q4_0: quanta a word an octet, then a half a block of 32: `d (q - 8)`.
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return half_of_block(row, octet); }
fn eight(row: u32, octet: u32) -> Eight {
    let q = four_bits(w[row * p.octets + octet]);
    return Eight(q.a - 8.0, q.b - 8.0);
}
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> { return less(nibbles_packed(w[row * p.octets + octet]), 0x08080808u); }
//#end
//#if BLOCKS
alias Quanta = vec4<u32>;
fn quanta(block: u32) -> Quanta { return w4[block]; }
fn part(q: Quanta, i: u32) -> Eight {
    let e = four_bits(q[i]);
    return Eight(e.a - 8.0, e.b - 8.0);
}
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> { return less(nibbles_packed(q[i]), 0x08080808u); }
//#end
alias Scales = f32;
const SPAN: u32 = 1u;
fn scales(span: u32) -> Scales { return half_at(p.s_at, span); }
fn scale(s: Scales, i: u32) -> vec2<f32> { return vec2<f32>(s, 0.0); }
//#end

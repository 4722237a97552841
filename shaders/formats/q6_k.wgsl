// Q6_K: low four bits a word an octet, then high two bits sixteen bits an octet, then sixteen signed scales a block of
// 256, then a half a block: `d scale (q - 32)`.
const MINIMA: bool = false;
fn signed_byte(byte: u32) -> f32 { return f32(i32(byte << 24u) >> 24u); }
fn six_bits_each(q: u32, h: u32) -> Eight {
    return Eight(
        floats(low_nibbles(q) | (twos(h) << vec4<u32>(4u))) - 32.0,
        floats(high_nibbles(q) | (twos(h >> 8u) << vec4<u32>(4u))) - 32.0,
    );
}
fn group(row: u32, octet: u32) -> vec2<f32> {
    let block = row * (p.octets >> 5u) + (octet >> 5u);
    let byte = byte_at(p.s_at + 4u * block, (octet & 31u) >> 1u);
    return vec2<f32>(half_at(p.d_at, block) * signed_byte(byte), 0.0);
}
fn eight(row: u32, octet: u32) -> Eight {
    let at = row * p.octets + octet;
    return six_bits_each(w[at], short_at(p.h_at, at));
}
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> {
    let at = row * p.octets + octet;
    return less(nibbles_packed(w[at]) | (twos_packed(short_at(p.h_at, at)) << vec2<u32>(4u)), 0x20202020u);
}
//#end
//#if BLOCKS
struct Quanta { low: vec4<u32>, high: vec2<u32> }
fn quanta(block: u32) -> Quanta {
    return Quanta(w4[block], vec2<u32>(w[p.h_at + 2u * block], w[p.h_at + 2u * block + 1u]));
}
fn part(q: Quanta, i: u32) -> Eight { return six_bits_each(q.low[i], q.high[i >> 1u] >> (16u * (i & 1u))); }
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> {
    let high = twos_packed(q.high[i >> 1u] >> (16u * (i & 1u)));
    return less(nibbles_packed(q.low[i]) | (high << vec2<u32>(4u)), 0x20202020u);
}
//#end
struct Scales { d: f32, sixteen: vec4<u32> }
const SPAN: u32 = 8u;
fn scales(span: u32) -> Scales { return Scales(half_at(p.d_at, span), w4[(p.s_at >> 2u) + span]); }
fn scale(s: Scales, i: u32) -> vec2<f32> {
    return vec2<f32>(s.d * signed_byte(s.sixteen[i >> 2u] >> (8u * (i & 3u))), 0.0);
}
//#end

// Q3_K: low two bits sixteen bits an octet, then third bits a byte an octet, then three words a block of 256: low four
// bits of sixteen scales, and their high two bits; then a half a block: `d (scale - 32) (q - 4)`.
const MINIMA: bool = false;
fn six_bit_scale(words: vec3<u32>, s: u32) -> f32 {
    let four = (select(words.y, words.x, s < 8u) >> (4u * (s & 7u))) & 15u;
    return f32(four | (((words.z >> (2u * s)) & 3u) << 4u)) - 32.0;
}
fn three_bits(q: u32, h: u32) -> Eight {
    return Eight(
        floats(twos(q) | (ones(h) << vec4<u32>(2u))) - 4.0,
        floats(twos(q >> 8u) | (ones(h >> 4u) << vec4<u32>(2u))) - 4.0,
    );
}
fn group(row: u32, octet: u32) -> vec2<f32> {
    let block = row * (p.octets >> 5u) + (octet >> 5u);
    let at = p.s_at + 3u * block;
    return vec2<f32>(half_at(p.d_at, block) * six_bit_scale(vec3<u32>(w[at], w[at + 1u], w[at + 2u]), (octet & 31u) >> 1u), 0.0);
}
fn eight(row: u32, octet: u32) -> Eight {
    let at = row * p.octets + octet;
    return three_bits(short_at(0u, at), byte_at(p.h_at, at));
}
//#if PACKED
fn packed(row: u32, octet: u32) -> vec2<u32> {
    let at = row * p.octets + octet;
    return less(twos_packed(short_at(0u, at)) | (ones_packed(byte_at(p.h_at, at)) << vec2<u32>(2u)), 0x04040404u);
}
//#end
//#if BLOCKS
alias Quanta = vec3<u32>;
fn quanta(block: u32) -> Quanta { return vec3<u32>(w[2u * block], w[2u * block + 1u], w[p.h_at + block]); }
fn part(q: Quanta, i: u32) -> Eight { return three_bits(q[i >> 1u] >> (16u * (i & 1u)), q.z >> (8u * i)); }
//#if PACKED
fn part_packed(q: Quanta, i: u32) -> vec2<u32> {
    let low = twos_packed(q[i >> 1u] >> (16u * (i & 1u)));
    return less(low | (ones_packed(q.z >> (8u * i)) << vec2<u32>(2u)), 0x04040404u);
}
//#end
struct Scales { d: f32, six: vec3<u32> }
const SPAN: u32 = 8u;
fn scales(span: u32) -> Scales {
    let at = p.s_at + 3u * span;
    return Scales(half_at(p.d_at, span), vec3<u32>(w[at], w[at + 1u], w[at + 2u]));
}
fn scale(s: Scales, i: u32) -> vec2<f32> { return vec2<f32>(s.d * six_bit_scale(s.six, i), 0.0); }
//#end

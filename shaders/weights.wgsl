// How kernels read weights, whatever their block format. Not a kernel.
//
// Rows are read eight elements at a time (an octet). A format gives `group(row, octet)`, scale and minimum, and
// `eight(row, octet)`, the quanta; an element is `scale * quantum + minimum`. What lies where is said in each format.
// BLOCKS: rows are read 32 elements at a time, in as few loads as can be: `quanta(block)` as they lie there and `scales`
// of SPAN blocks; of these `part(quanta, i)` is octet `i` of the four, `scale(scales, i)` that of sixteen elements `i`.

struct Eight { a: vec4<f32>, b: vec4<f32> }

// Eight elements themselves.
fn decoded(row: u32, octet: u32) -> Eight {
    let s = group(row, octet);
    let q = eight(row, octet);
    return Eight(s.x * q.a + s.y, s.x * q.b + s.y);
}

// A half from its bits. Drivers may take halves below 2^-14 for 0, and scales of K formats are that small.
fn half_of(bits: u32) -> f32 {
    let small = f32(bits & 0x3ffu) * 5.9604645e-8;
    let signed = select(small, -small, (bits & 0x8000u) != 0u);
    return select(unpack2x16float(bits).x, signed, (bits & 0x7c00u) == 0u);
}

// Both halves of a word.
fn halves(word: u32) -> vec2<f32> {
    return vec2<f32>(half_of(word & 0xffffu), half_of(word >> 16u));
}

// Number `i` of the halves that begin at word `at`.
fn half_at(at: u32, i: u32) -> f32 {
    return half_of((w[at + (i >> 1u)] >> (16u * (i & 1u))) & 0xffffu);
}

// Number `i` of the bytes that begin at word `at`.
fn byte_at(at: u32, i: u32) -> u32 {
    return (w[at + (i >> 2u)] >> (8u * (i & 3u))) & 0xffu;
}

// Sixteen bits: number `i` of those that begin at word `at`.
fn short_at(at: u32, i: u32) -> u32 {
    return (w[at + (i >> 1u)] >> (16u * (i & 1u))) & 0xffffu;
}

// The first four elements in the low halves of the bytes, the others in the high halves.
fn low_nibbles(word: u32) -> vec4<u32> { return unpack4xU8(word & 0x0f0f0f0fu); }
fn high_nibbles(word: u32) -> vec4<u32> { return unpack4xU8((word >> 4u) & 0x0f0f0f0fu); }

// Four elements of one bit, four of two.
fn ones(bits: u32) -> vec4<u32> { return (vec4<u32>(bits) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u); }
fn twos(bits: u32) -> vec4<u32> { return (vec4<u32>(bits) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u); }

// Four elements of a table of sixteen signed bytes, the first in the lowest.
fn known(table: vec4<u32>, q: vec4<u32>) -> vec4<i32> {
    let low = select(vec4<u32>(table.x), vec4<u32>(table.y), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let high = select(vec4<u32>(table.z), vec4<u32>(table.w), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let word = select(low, high, (q & vec4<u32>(8u)) != vec4<u32>(0u));
    let byte = (word >> ((q & vec4<u32>(3u)) << vec4<u32>(3u))) << vec4<u32>(24u);
    return vec4<i32>(byte) >> vec4<u32>(24u);
}
const IQ4: vec4<u32> = vec4<u32>(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
// E2M1, doubled.
const MXFP4: vec4<u32> = vec4<u32>(0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu);

// Quanta as floats: small and without a sign, so that the conversion of signed numbers does, which processors have.
fn floats(q: vec4<u32>) -> vec4<f32> { return vec4<f32>(vec4<i32>(q)); }

// An octet of four-bit quanta in a word: by a table; as they are; with fifth bits.
fn by_table(table: vec4<u32>, word: u32) -> Eight {
    return Eight(vec4<f32>(known(table, low_nibbles(word))), vec4<f32>(known(table, high_nibbles(word))));
}
fn four_bits(word: u32) -> Eight { return Eight(floats(low_nibbles(word)), floats(high_nibbles(word))); }
fn five_bits(word: u32, h: u32) -> Eight {
    return Eight(
        floats(low_nibbles(word) | (ones(h) << vec4<u32>(4u))),
        floats(high_nibbles(word) | (ones(h >> 4u) << vec4<u32>(4u))),
    );
}

// PACKED: a format also gives `packed(row, octet)`, the same quanta as signed bytes, four in a word.
//#if PACKED
fn nibbles_packed(word: u32) -> vec2<u32> { return vec2<u32>(word, word >> 4u) & vec2<u32>(0x0f0f0f0fu); }
fn packed_by_table(table: vec4<u32>, word: u32) -> vec2<u32> {
    return vec2<u32>(pack4xI8(known(table, low_nibbles(word))), pack4xI8(known(table, high_nibbles(word))));
}
// Eight elements of one bit, of two.
fn ones_packed(bits: u32) -> vec2<u32> {
    // Copies of four bits do not overlap: the lowest of each byte is another bit.
    return (vec2<u32>(bits & 15u, (bits >> 4u) & 15u) * 0x00204081u) & vec2<u32>(0x01010101u);
}
fn twos_packed(bits: u32) -> vec2<u32> {
    let two = vec2<u32>(bits & 0xffu, (bits >> 8u) & 0xffu);
    let apart = two | (two << vec2<u32>(6u)) | (two << vec2<u32>(12u)) | (two << vec2<u32>(18u));
    return apart & vec2<u32>(0x03030303u);
}
// Bytes below 128 less `by`, which is the same in each byte and at most 128: no byte borrows from the next.
fn less(bytes: vec2<u32>, by: u32) -> vec2<u32> {
    return ((bytes | vec2<u32>(0x80808080u)) - vec2<u32>(by)) ^ vec2<u32>(0x80808080u);
}
//#end

// `group` where scales are a half a block of 32; two halves, scale and minimum.
fn half_of_block(row: u32, octet: u32) -> vec2<f32> {
    return vec2<f32>(half_at(p.s_at, row * (p.octets >> 2u) + (octet >> 2u)), 0.0);
}
fn halves_of_block(row: u32, octet: u32) -> vec2<f32> { return halves(w[p.s_at + row * (p.octets >> 2u) + (octet >> 2u)]); }

// `group` where they are four words a block of 256: halves d and m, and eight scales and minima of six bits, packed as
// in files of Q4_K: `d scale` and `-m minimum`.
fn six_bits_of_block(row: u32, octet: u32) -> vec2<f32> {
    let at = p.s_at + 4u * (row * (p.octets >> 5u) + (octet >> 5u));
    return six_bits(vec4<u32>(w[at], w[at + 1u], w[at + 2u], w[at + 3u]), (octet & 31u) >> 2u);
}
fn six_bits(words: vec4<u32>, s: u32) -> vec2<f32> {
    let three = words.yzw >> vec3<u32>(8u * (s & 3u));
    let low = three.xy & vec2<u32>(63u);
    let high = vec2<u32>(three.z & 15u, (three.z >> 4u) & 15u) | (((three.xy >> vec2<u32>(6u)) & vec2<u32>(3u)) << vec2<u32>(4u));
    let dm = halves(words.x) * vec2<f32>(select(high, low, s < 4u));
    return vec2<f32>(dm.x, -dm.y);
}

// Floats have no scales, and are read where they lie.
//#if FLOATS
const MINIMA: bool = false;
fn group(row: u32, octet: u32) -> vec2<f32> { return vec2<f32>(1.0, 0.0); }
//#if BLOCKS
alias Quanta = u32;
fn quanta(block: u32) -> Quanta { return block; }
alias Scales = u32;
const SPAN: u32 = 1u;
fn scales(span: u32) -> Scales { return 0u; }
fn scale(s: Scales, i: u32) -> vec2<f32> { return vec2<f32>(1.0, 0.0); }
//#end
//#end

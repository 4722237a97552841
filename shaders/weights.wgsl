// How kernels read weights, whatever their block format. Not a kernel.
//
// Rows are read eight elements at a time (an octet). A format gives `group(row, octet)`, scale and minimum, and
// `eight(row, octet)`, the quanta; an element is `scale * quantum + minimum`. What lies where is said in each format.

struct Eight { a: vec4<f32>, b: vec4<f32> }

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

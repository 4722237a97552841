// What kernels that multiply with weights have in common: their parameters, how they read x and write out. Not a kernel.
struct Params {
    // Elements and octets of a row; rows of this part of the matrix.
    width: u32,
    octets: u32,
    rows: u32,
    // Where the planes of the format begin.
    h_at: u32,
    s_at: u32,
    d_at: u32,
    // First element and distance of rows of x and of out.
    x_at: u32,
    x_stride: u32,
    out_at: u32,
    out_stride: u32,
    // Which count of the step: 0 tokens, 1 outputs.
    counted: u32,
    // Where the bias begins in the lists, or NONE.
    bias_at: u32,
    // `out += factor * y` where `add` is 1, else `out = y`. Of paired experts the numbers of F, `factor` and `row` as bits.
    add: u32,
    factor: f32,
    // Experts: rows of one, those that lie in this part, used for each token, where the choice lies, its stride.
    each: u32,
    expert_first: u32,
    expert_end: u32,
    used: u32,
    choice_at: u32,
    choice_stride: u32,
    // Rows of the embedding: 0 by token, 1 by position, 2 always `row`; the first row of this part.
    by: u32,
    row: u32,
    row_first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

// Elements `8 octet ..` of the row of x that begins at `at`.
fn octet_of(at: u32, octet: u32) -> Eight {
//#if ALIGNED
    let i = (at >> 2u) + 2u * octet;
    return Eight(acts4[i], acts4[i + 1u]);
//#else
    // The row may end inside of an octet; what follows it may be no number at all.
    let i = 8u * octet;
    var x: array<f32, 8>;
    for (var j = 0u; j < 8u; j++) {
        if (i + j < p.width) { x[j] = acts[at + i + j]; }
    }
    return Eight(vec4<f32>(x[0], x[1], x[2], x[3]), vec4<f32>(x[4], x[5], x[6], x[7]));
//#end
}

// Where x of a token begins; past the last token that of the last.
fn row_of_x(token: u32, count: u32) -> u32 { return p.x_at + min(token, count - 1u) * p.x_stride; }

// An octet of a row of weights, and of x; nothing past the end of a row.
fn weights_or_nothing(row: u32, octet: u32) -> Eight {
    if (octet >= p.octets) { return Eight(); }
    return decoded(row, octet);
}
fn octet_or_nothing(at: u32, octet: u32) -> Eight {
    if (octet >= p.octets) { return Eight(); }
    return octet_of(at, octet);
}

fn sum_of(x: Eight) -> f32 {
    let s = x.a + x.b;
    return s.x + s.y + s.z + s.w;
}

// The largest of four; and what makes `top` to `most`, where numbers become parts of the largest.
fn largest(x: vec4<f32>) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }
fn inverse_of(top: f32, most: f32) -> f32 {
    // What is smaller is nothing beside anything else, and has no inverse.
    return select(most / top, 0.0, top < 1e-30);
}

fn put(token: u32, row: u32, product: f32) {
    var y = product;
    if (p.bias_at != NONE) { y += lists[p.bias_at + row]; }
    let at = p.out_at + token * p.out_stride + row;
    if (p.add == 1u) { acts[at] += p.factor * y; } else { acts[at] = y; }
}

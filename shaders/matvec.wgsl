// Op::Linear for few tokens: out = W x + bias, or out += factor (W x + bias).
//
// W: [width, rows] in any block format; x: [width] and out: [rows] for each token.
// A workgroup of LANES invocations computes ROWS rows for TOKENS tokens: each invocation takes every LANES-th octet of
// all the rows, so that neighbours read neighbouring words, and decodes each weight once for all tokens.
// PACKED: quanta stay bytes, and x becomes bytes, each a part of the largest of its octet: off by a 254th of that at most.
// Workgroups: x and y together over rows / ROWS, z over tokens / TOKENS.
// Oracle: reference::linear::multiply.

const SUMS: u32 = ROWS * TOKENS;

//#if PACKED
struct Taken { a: u32, b: u32, scale: f32, sum: f32 }
fn take(x: Eight) -> Taken {
    let top = largest(max(abs(x.a), abs(x.b)));
    let inverse = inverse_of(top, 127.0);
    let became = Eight(round(x.a * inverse), round(x.b * inverse));
    let scale = top * (1.0 / 127.0);
    // A minimum is multiplied with what x became too: what is rounded then moves an element by its weight, not by its quantum.
    return Taken(pack4xI8(vec4<i32>(became.a)), pack4xI8(vec4<i32>(became.b)), scale, scale * sum_of(became));
}
fn sum_of_taken(x: Taken) -> f32 { return x.sum; }
fn weights_of(row: u32, octet: u32) -> vec2<u32> { return packed(row, octet); }
fn times(q: vec2<u32>, x: Taken) -> f32 { return x.scale * f32(dot4I8Packed(q.x, x.a) + dot4I8Packed(q.y, x.b)); }
//#else
alias Taken = Eight;
fn take(x: Eight) -> Taken { return x; }
fn sum_of_taken(x: Taken) -> f32 { return sum_of(x); }
fn weights_of(row: u32, octet: u32) -> Eight { return eight(row, octet); }
fn times(q: Eight, x: Taken) -> f32 { return dot(q.a, x.a) + dot(q.b, x.b); }
//#end

fn work(here: Workgroup, at: Place) {
    let first = (here.id.y * here.groups.x + here.id.x) * ROWS;
    if (first >= p.rows) { return; }
    let token = here.id.z * TOKENS;
    let count = batch[p.counted];
    var sums: array<f32, SUMS>;
    for (var octet = at.lane; octet < p.octets; octet += LANES) {
        var taken: array<Taken, TOKENS>;
        var all: array<f32, TOKENS>;
        for (var t = 0u; t < TOKENS; t++) {
            taken[t] = take(octet_of(row_of_x(token + t, count), octet));
            if (MINIMA) { all[t] = sum_of_taken(taken[t]); }
        }
        for (var r = 0u; r < ROWS; r++) {
            let row = min(first + r, p.rows - 1u);
            let s = group(row, octet);
            let q = weights_of(row, octet);
            for (var t = 0u; t < TOKENS; t++) {
                var sum = s.x * times(q, taken[t]);
                if (MINIMA) { sum += s.y * all[t]; }
                sums[r * TOKENS + t] += sum;
            }
        }
    }
    lay_out(at, &sums);
    for (var i = at.lane; i < SUMS; i += LANES) {
        let row = first + i / TOKENS;
        let t = token + i % TOKENS;
        if (row < p.rows && t < count) { put(t, row, sum_of_parts(at, i)); }
    }
}

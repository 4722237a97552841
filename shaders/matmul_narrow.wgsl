// Op::Linear for many tokens, in narrow numbers: shapes as in matvec.wgsl, tiles as in tile.wgsl, formats with quanta.
//
// Quanta are small whole numbers. x is made a part of the largest of sixteen neighbours, so that sixteen products can be
// added up in numbers as narrow as they are; only their sums are scaled, in f32.
// PACKED: bytes, four in a word: sums are exact, x is off by a 254th of the largest at most. Else halves, two in a word:
// quanta are exact, x is off by 2^-12 of the largest at most, a sum stays below 2^11.
// Workgroup memory: 4.6 KiB of bytes, 7.6 KiB of halves.
// Oracle: reference::linear::multiply.

//#if PACKED
alias Word = u32;
alias Sum = i32;
const WORDS: u32 = 2u;
fn more(sum: Sum, a: Word, b: Word) -> Sum { return sum + dot4I8Packed(a, b); }
fn whole(sum: Sum) -> f32 { return f32(sum); }
// The largest that x may become.
const TOP: f32 = 127.0;
fn made_of(x: vec4<f32>) -> vec4<f32> { return round(x); }
fn words_of(x: Eight) -> array<Word, WORDS> {
    return array<Word, WORDS>(pack4xI8(vec4<i32>(x.a)), pack4xI8(vec4<i32>(x.b)));
}
fn weights_of(row: u32, octet: u32) -> array<Word, WORDS> {
    let q = packed(row, octet);
    return array<Word, WORDS>(q.x, q.y);
}
//#else
alias Word = vec2<f16>;
alias Sum = vec2<f16>;
const WORDS: u32 = 4u;
fn more(sum: Sum, a: Word, b: Word) -> Sum { return fma(a, b, sum); }
fn whole(sum: Sum) -> f32 { return f32(sum.x) + f32(sum.y); }
const TOP: f32 = 1.0;
fn made_of(x: vec4<f32>) -> vec4<f32> { return vec4<f32>(vec4<f16>(x)); }
fn words_of(x: Eight) -> array<Word, WORDS> {
    return array<Word, WORDS>(Word(x.a.xy), Word(x.a.zw), Word(x.b.xy), Word(x.b.zw));
}
fn weights_of(row: u32, octet: u32) -> array<Word, WORDS> { return words_of(eight(row, octet)); }
//#end

var<workgroup> ws: array<Word, 4u * WORDS * HIGH>;
var<workgroup> xs: array<Word, 4u * WORDS * WIDE>;
// Of each sixteen: scale and minimum of a row; scale and sum of a token.
var<workgroup> groups_of: array<vec2<f32>, 128>;
var<workgroup> tokens_of: array<vec2<f32>, 64>;

fn lay_weights(first: u32, base: u32, lane: u32) {
    for (var i = lane; i < 256u; i += 64u) {
        let r = i >> 2u;
        let o = i & 3u;
        let words = weights_of(min(first + r, p.rows - 1u), base + o);
        for (var j = 0u; j < WORDS; j++) { ws[(WORDS * o + j) * HIGH + r] = words[j]; }
    }
    let row = min(first + lane, p.rows - 1u);
    groups_of[lane] = group(row, base);
    groups_of[64u + lane] = group(row, base + 2u);
}

// Two invocations a token, sixteen elements each.
fn lay_x(token: u32, count: u32, base: u32, lane: u32) {
    let t = lane >> 1u;
    let half = lane & 1u;
    let at = row_of_x(token + t, count);
    let a = octet_of(at, base + 2u * half);
    let b = octet_of(at, base + 2u * half + 1u);
    let top = largest(max(max(abs(a.a), abs(a.b)), max(abs(b.a), abs(b.b))));
    let inverse = inverse_of(top, TOP);
    let x = Eight(made_of(a.a * inverse), made_of(a.b * inverse));
    let y = Eight(made_of(b.a * inverse), made_of(b.b * inverse));
    let first = words_of(x);
    let second = words_of(y);
    for (var j = 0u; j < WORDS; j++) {
        xs[(2u * WORDS * half + j) * WIDE + t] = first[j];
        xs[(2u * WORDS * half + WORDS + j) * WIDE + t] = second[j];
    }
    // A minimum is multiplied with what x became too: what is rounded then moves an element by its weight, not by its quantum.
    let scale = top * (1.0 / TOP);
    tokens_of[32u * half + t] = vec2<f32>(scale, scale * (sum_of(x) + sum_of(y)));
}

fn add_products(sums: ptr<function, Sums>, high: u32, wide: u32) {
    for (var half = 0u; half < 2u; half++) {
        var found: array<Sum, 32>;
        for (var k = 2u * WORDS * half; k < 2u * WORDS * (half + 1u); k++) {
            var x: array<Word, 4>;
            for (var t = 0u; t < 4u; t++) { x[t] = xs[k * WIDE + wide + 8u * t]; }
            for (var r = 0u; r < 8u; r++) {
                let weight = ws[k * HIGH + high + 8u * r];
                for (var t = 0u; t < 4u; t++) { found[r * 4u + t] = more(found[r * 4u + t], weight, x[t]); }
            }
        }
        for (var t = 0u; t < 4u; t++) {
            let of_token = tokens_of[32u * half + wide + 8u * t];
            for (var r = 0u; r < 8u; r++) {
                let of_row = groups_of[64u * half + high + 8u * r];
                var sum = of_row.x * of_token.x * whole(found[r * 4u + t]);
                if (MINIMA) { sum += of_row.y * of_token.y; }
                (*sums)[r * 4u + t] += sum;
            }
        }
    }
}

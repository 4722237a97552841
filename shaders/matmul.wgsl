// Op::Linear for many tokens: shapes as in matvec.wgsl, tiles as in tile.wgsl.
//
// Weights are decoded once into workgroup memory. Workgroup memory: 12.4 KiB.
// Oracle: reference::linear::multiply.

var<workgroup> ws: array<f32, 32u * HIGH>;
var<workgroup> xs: array<f32, 32u * WIDE>;

fn lay_weights(first: u32, base: u32, lane: u32) {
    for (var i = lane; i < 256u; i += 64u) {
        let r = i >> 2u;
        let k = 8u * (i & 3u);
        let x = weights_or_nothing(min(first + r, p.rows - 1u), base + (i & 3u));
        for (var j = 0u; j < 4u; j++) {
            ws[(k + j) * HIGH + r] = x.a[j];
            ws[(k + 4u + j) * HIGH + r] = x.b[j];
        }
    }
}

fn lay_x(token: u32, count: u32, base: u32, lane: u32) {
    for (var i = lane; i < 128u; i += 64u) {
        let t = i >> 2u;
        let k = 8u * (i & 3u);
        let x = octet_or_nothing(row_of_x(token + t, count), base + (i & 3u));
        for (var j = 0u; j < 4u; j++) {
            xs[(k + j) * WIDE + t] = x.a[j];
            xs[(k + 4u + j) * WIDE + t] = x.b[j];
        }
    }
}

fn add_products(sums: ptr<function, Sums>, high: u32, wide: u32) {
    for (var k = 0u; k < 32u; k++) {
        var x: array<f32, 4>;
        for (var t = 0u; t < 4u; t++) { x[t] = xs[k * WIDE + wide + 8u * t]; }
        for (var r = 0u; r < 8u; r++) {
            let weight = ws[k * HIGH + high + 8u * r];
            for (var t = 0u; t < 4u; t++) { (*sums)[r * 4u + t] += weight * x[t]; }
        }
    }
}

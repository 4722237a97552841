// Op::Linear for many tokens: shapes as in matvec.wgsl.
//
// A workgroup of 64 invocations computes a tile of 64 rows for 32 tokens, 32 elements at a time: weights are decoded
// once into workgroup memory, and each invocation keeps 8 rows of 4 tokens in registers.
// Workgroups: x and y together over rows / 64, z over tokens / 32. Workgroup memory: 12.4 KiB.
// Oracle: reference::linear::multiply.

// One row more than there are, so that neighbours do not share a bank.
const HIGH: u32 = 65u;
const WIDE: u32 = 33u;
var<workgroup> ws: array<f32, 32u * HIGH>;
var<workgroup> xs: array<f32, 32u * WIDE>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (id.y * groups.x + id.x) * 64u;
    if (first >= p.rows) { return; }
    let token = id.z * 32u;
    let count = batch[p.counted];
    let high = lane & 7u;
    let wide = lane >> 3u;
    var sums: array<f32, 32>;
    for (var base = 0u; base < p.octets; base += 4u) {
        for (var i = lane; i < 256u; i += 64u) {
            let r = i >> 2u;
            let octet = base + (i & 3u);
            let k = 8u * (i & 3u);
            var a = vec4<f32>();
            var b = vec4<f32>();
            if (octet < p.octets) {
                let row = min(first + r, p.rows - 1u);
                let s = group(row, octet);
                let q = eight(row, octet);
                a = s.x * q.a + s.y;
                b = s.x * q.b + s.y;
            }
            for (var j = 0u; j < 4u; j++) {
                ws[(k + j) * HIGH + r] = a[j];
                ws[(k + 4u + j) * HIGH + r] = b[j];
            }
        }
        for (var i = lane; i < 128u; i += 64u) {
            let t = i >> 2u;
            let octet = base + (i & 3u);
            let k = 8u * (i & 3u);
            var x = Eight();
            if (octet < p.octets) { x = octet_of(p.x_at + min(token + t, count - 1u) * p.x_stride, octet); }
            for (var j = 0u; j < 4u; j++) {
                xs[(k + j) * WIDE + t] = x.a[j];
                xs[(k + 4u + j) * WIDE + t] = x.b[j];
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < 32u; k++) {
            var x: array<f32, 4>;
            for (var t = 0u; t < 4u; t++) { x[t] = xs[k * WIDE + wide + 8u * t]; }
            for (var r = 0u; r < 8u; r++) {
                let weight = ws[k * HIGH + high + 8u * r];
                for (var t = 0u; t < 4u; t++) { sums[r * 4u + t] += weight * x[t]; }
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < 8u; r++) {
        for (var t = 0u; t < 4u; t++) {
            let row = first + high + 8u * r;
            let which = token + wide + 8u * t;
            if (row < p.rows && which < count) { put(which, row, sums[r * 4u + t]); }
        }
    }
}

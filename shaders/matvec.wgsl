// Op::Linear for few tokens: out = W x + bias, or out += factor (W x + bias).
//
// W: [width, rows] in any block format; x: [width] and out: [rows] for each token.
// A workgroup of LANES invocations computes ROWS rows for TOKENS tokens: each invocation takes every LANES-th octet of
// all the rows, so that neighbours read neighbouring words, and decodes each weight once for all tokens.
// Workgroups: x and y together over rows / ROWS, z over tokens / TOKENS.
// Oracle: reference::linear::multiply.

const SUMS: u32 = ROWS * TOKENS;
//#if SUBGROUPS
var<workgroup> parts: array<f32, LANES * SUMS / 4u>;
//#else
var<workgroup> parts: array<f32, LANES * SUMS>;
//#end

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
//#if SUBGROUPS
    @builtin(subgroup_invocation_id) place: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
//#end
) {
    let first = (id.y * groups.x + id.x) * ROWS;
    if (first >= p.rows) { return; }
    let token = id.z * TOKENS;
    let count = batch[p.counted];
    var sums: array<f32, SUMS>;
    for (var octet = lane; octet < p.octets; octet += LANES) {
        var x: array<Eight, TOKENS>;
        var all: array<f32, TOKENS>;
        for (var t = 0u; t < TOKENS; t++) {
            x[t] = octet_of(p.x_at + min(token + t, count - 1u) * p.x_stride, octet);
            if (MINIMA) { all[t] = sum_of(x[t]); }
        }
        for (var r = 0u; r < ROWS; r++) {
            let row = min(first + r, p.rows - 1u);
            let s = group(row, octet);
            let q = eight(row, octet);
            for (var t = 0u; t < TOKENS; t++) {
                var sum = s.x * (dot(q.a, x[t].a) + dot(q.b, x[t].b));
                if (MINIMA) { sum += s.y * all[t]; }
                sums[r * TOKENS + t] += sum;
            }
        }
    }
//#if SUBGROUPS
    for (var i = 0u; i < SUMS; i++) {
        let sum = subgroupAdd(sums[i]);
        if (place == 0u) { parts[subgroup * SUMS + i] = sum; }
    }
    workgroupBarrier();
    let count_parts = subgroups;
//#else
    for (var i = 0u; i < SUMS; i++) { parts[lane * SUMS + i] = sums[i]; }
    workgroupBarrier();
    let count_parts = LANES;
//#end
    for (var i = lane; i < SUMS; i += LANES) {
        let row = first + i / TOKENS;
        let t = token + i % TOKENS;
        if (row < p.rows && t < count) {
            var sum = 0.0;
            for (var j = 0u; j < count_parts; j++) { sum += parts[j * SUMS + i]; }
            put(t, row, sum);
        }
    }
}

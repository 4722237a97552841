// Joins the segments that attend.wgsl found apart.
//
// scratch: for each token, head and segment the highest score, the sum of shares, and [VALUE] sums; out: [heads * VALUE]
// for each token. A workgroup of 64 invocations a head. Workgroups: x over heads, y over tokens.
// Oracle: reference::attention.
struct Params {
    out_at: u32,
    out_stride: u32,
    scratch_at: u32,
    heads: u32,
    value: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segments = batch[2];
    let stride = p.value + 2u;
    let begin = p.scratch_at + (id.y * p.heads + id.x) * segments * stride;
    var top = LEAST;
    for (var s = 0u; s < segments; s++) { top = max(top, acts[begin + s * stride]); }
    var total = 0.0;
    for (var s = 0u; s < segments; s++) { total += acts[begin + s * stride + 1u] * exp(acts[begin + s * stride] - top); }
    for (var i = lane; i < p.value; i += 64u) {
        var sum = 0.0;
        for (var s = 0u; s < segments; s++) {
            sum += acts[begin + s * stride + 2u + i] * exp(acts[begin + s * stride] - top);
        }
        acts[p.out_at + id.y * p.out_stride + id.x * p.value + i] = sum / total;
    }
}

// The share of Op::Adapt: x = share x, each token with its own share of an adapter.
//
// x: [width] for each token or output. A workgroup of 64 invocations, one element each. Workgroups: x over width / 64, y
// over tokens or outputs.
// Oracle: reference, Op::Adapt.
struct Params {
    x_at: u32,
    x_stride: u32,
    width: u32,
    // Which adapter; which count of the step: 0 tokens, 1 outputs.
    adapter: u32,
    counted: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.width) { return; }
    var token = id.y;
    if (p.counted == 1u) { token = batch[batch[4] + token]; }
    let share = bitcast<f32>(batch[batch[15] + p.adapter * batch[0] + token]);
    let at = p.x_at + id.y * p.x_stride + id.x;
    // Nothing of what is no number is nothing.
    acts[at] = select(share * acts[at], 0.0, share == 0.0);
}

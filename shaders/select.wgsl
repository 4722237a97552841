// Op::Select: row `j` of out is the row of x that belongs to the `j`-th wanted token.
//
// x: [width] for each token; out: [width] for each output. A workgroup of 64 invocations, one element each.
// Workgroups: x over width / 64, y over outputs. Oracle: reference.
struct Params {
    x_at: u32,
    x_stride: u32,
    out_at: u32,
    out_stride: u32,
    width: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.width) { return; }
    let token = batch[batch[4] + id.y];
    acts[p.out_at + id.y * p.out_stride + id.x] = acts[p.x_at + token * p.x_stride + id.x];
}

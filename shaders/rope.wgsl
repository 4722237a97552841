// Op::Rope: pairs of each head turn by angles that depend on the position.
//
// x: [heads * head] for each token, in place. Angles come with the step: their cosine and sine must be exact, and those
// of drivers are not. HALVES: pairs are (i, i + dims / 2), else (2 i, 2 i + 1).
// A workgroup of 64 invocations, one pair each. Workgroups: x over heads * dims / 128, y over tokens.
// Oracle: reference::rope.
struct Params {
    x_at: u32,
    x_stride: u32,
    heads: u32,
    head: u32,
    dims: u32,
    rope: u32,
    halves: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let pairs = p.dims / 2u;
    if (id.x >= p.heads * pairs) { return; }
    let i = id.x % pairs;
    let angle = batch[5u + p.rope] + id.y * p.dims + 2u * i;
    let c = bitcast<f32>(batch[angle]);
    let s = bitcast<f32>(batch[angle + 1u]);
    let head = p.x_at + id.y * p.x_stride + (id.x / pairs) * p.head;
    let a = head + select(2u * i, i, p.halves == 1u);
    let b = a + select(1u, pairs, p.halves == 1u);
    let x = acts[a];
    let y = acts[b];
    acts[a] = x * c - y * s;
    acts[b] = x * s + y * c;
}

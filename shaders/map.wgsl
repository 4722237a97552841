// Op::Activate, Op::Gated, Op::Add, Op::Scale, Op::Softcap: out = f(x, y), element by element.
//
// x, y, out: [width] for each token; out may be x. F says which function, by the names in functions.wgsl.
// A workgroup of 64 invocations, one element each. Workgroups: x over width / 64, y over tokens.
// Oracle: reference::elementwise.
struct Params {
    x_at: u32,
    x_stride: u32,
    y_at: u32,
    y_stride: u32,
    out_at: u32,
    out_stride: u32,
    width: u32,
    a: f32,
    b: f32,
}
@group(0) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.width) { return; }
    let out = p.out_at + id.y * p.out_stride + id.x;
    let x = acts[p.x_at + id.y * p.x_stride + id.x];
//#if PAIRED
    let y = acts[p.y_at + id.y * p.y_stride + id.x];
    acts[out] = gated(x, y, p.a, p.b);
//#else
    if (F == ADD) { acts[out] += p.a * x; } else { acts[out] = apply(x, 0.0, p.a, p.b); }
//#end
}

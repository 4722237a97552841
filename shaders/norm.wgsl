// Op::Norm: out = norm(x) * weight + bias, or out += that, over groups of `group` elements. Two that go together are one:
// groups from `split` on may have another weight (heads of q, then of k), and with `next` what was written is normed once
// more by its root mean square, to another place (the norm before what follows a residual connection).
//
// x, out: [group] for each group of each token; out may be x. LAYER: the mean is taken away first.
// A workgroup of LANES invocations a group. Workgroups: x over groups, y over tokens.
// Oracle: reference::elementwise::norm.
struct Params {
    x_at: u32,
    x_stride: u32,
    out_at: u32,
    out_stride: u32,
    group: u32,
    weight_at: u32,
    bias_at: u32,
    add: u32,
    epsilon: f32,
    factor: f32,
    split: u32,
    second_weight_at: u32,
    // 1: once more, to `next_at`; then there is one group.
    next: u32,
    next_at: u32,
    next_stride: u32,
    next_weight_at: u32,
    next_epsilon: f32,
}
@group(0) @binding(0) var<uniform> p: Params;

const SUMS: u32 = 1u;

// The sum over the workgroup.
fn total(at: Place, part: f32) -> f32 {
    var sums = array<f32, 1>(part);
    lay_out(at, &sums);
    let sum = sum_of_parts(at, 0u);
    // The parts are written again.
    workgroupBarrier();
    return sum;
}

fn work(here: Workgroup, at: Place) {
    let id = here.id;
    let lane = at.lane;
    let x = p.x_at + id.y * p.x_stride + id.x * p.group;
    let out = p.out_at + id.y * p.out_stride + id.x * p.group;
    var mean = 0.0;
//#if LAYER
    var sum = 0.0;
    for (var i = lane; i < p.group; i += LANES) { sum += acts[x + i]; }
    mean = total(at, sum) / f32(p.group);
//#end
    var square = 0.0;
    for (var i = lane; i < p.group; i += LANES) {
        let value = acts[x + i] - mean;
        square += value * value;
    }
    let scale = inverseSqrt(total(at, square) / f32(p.group) + p.epsilon);
    let weight = select(p.weight_at, p.second_weight_at, id.x >= p.split);
    var written = 0.0;
    for (var i = lane; i < p.group; i += LANES) {
        var value = (acts[x + i] - mean) * scale;
        if (weight != NONE) { value *= lists[weight + i]; }
        if (p.bias_at != NONE) { value += lists[p.bias_at + i]; }
        if (p.add == 1u) { value = acts[out + i] + p.factor * value; }
        acts[out + i] = value;
        written += value * value;
    }
    if (p.next == 1u) {
        let again = inverseSqrt(total(at, written) / f32(p.group) + p.next_epsilon);
        for (var i = lane; i < p.group; i += LANES) {
            var value = acts[out + i] * again;
            if (p.next_weight_at != NONE) { value *= lists[p.next_weight_at + i]; }
            acts[p.next_at + id.y * p.next_stride + i] = value;
        }
    }
}

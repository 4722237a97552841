// A tile of a product, which kernels lay into workgroup memory and multiply in their own ways. Not a kernel.
//
// A workgroup of 64 invocations computes 64 rows for 32 tokens, 32 elements at a time; each invocation keeps 8 rows of 4
// tokens in registers: row `high + 8 r` and token `wide + 8 t` of the tile, `r` below 8 and `t` below 4.
// A kernel gives `lay_weights` and `lay_x`, which put the next 32 elements there, and `add_products`.
// Workgroups: x and y together over rows / 64, z over tokens / 32.

// One more than there are, so that neighbours do not share a bank.
const HIGH: u32 = 65u;
const WIDE: u32 = 33u;

alias Sums = array<f32, 32>;

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
    var sums: Sums;
    for (var base = 0u; base < p.octets; base += 4u) {
        lay_weights(first, base, lane);
        lay_x(token, count, base, lane);
        workgroupBarrier();
        add_products(&sums, high, wide);
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

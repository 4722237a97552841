// Op::Linear where invocations are few and barriers dear (drivers that run on the processor).
//
// Shapes as in matvec.wgsl. A workgroup of LANES invocations; each computes one row for TOKENS tokens, alone.
// Workgroups: x and y together over rows / LANES, z over tokens / TOKENS.
// Oracle: reference::linear::multiply.

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (id.y * groups.x + id.x) * LANES + lane;
    if (row >= p.rows) { return; }
    let token = id.z * TOKENS;
    let count = batch[p.counted];
    var at: array<u32, TOKENS>;
    var sums: array<f32, TOKENS>;
    for (var t = 0u; t < TOKENS; t++) { at[t] = row_of_x(token + t, count); }
    for (var octet = 0u; octet < p.octets; octet++) {
        // One product an element and not two: what is decoded here is used for all tokens.
        let weights = decoded(row, octet);
        for (var t = 0u; t < TOKENS; t++) {
            let x = octet_of(at[t], octet);
            sums[t] += dot(weights.a, x.a) + dot(weights.b, x.b);
        }
    }
    for (var t = 0u; t < TOKENS; t++) {
        if (token + t < count) { put(token + t, row, sums[t]); }
    }
}

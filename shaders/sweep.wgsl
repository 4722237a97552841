// Op::Linear for few tokens in bytes, where subgroups always have SUBGROUP invocations: shapes as in matvec.wgsl, widths that
// are multiples of 32.
//
// A subgroup computes ROWS rows, whose blocks of 32 its invocations read side by side, each in as few loads as can be, and
// the next ones before those that it has are multiplied. x becomes bytes once for all rows of a workgroup, CHUNK elements at
// a time: each a part of the largest of sixteen neighbours, off by a 254th of that at most.
// Workgroups: x and y together over rows / (ROWS * LANES / SUBGROUP), z over tokens / TOKENS. Workgroup memory: 6 KiB, of
// eight tokens 12.
// Oracle: reference::linear::multiply.

// Sixteen elements of x as bytes; what makes them numbers again, and their sum.
var<workgroup> xs: array<vec4<u32>, TOKENS * CHUNK / 16u>;
var<workgroup> scales_of_x: array<vec2<f32>, TOKENS * CHUNK / 16u>;

// Numbers up to 127 as bytes: the sum has them in its lowest bits, rounded as floats are.
const MAGIC: f32 = 12582912.0;
fn bytes_of(x: vec4<f32>) -> u32 {
    let q = bitcast<vec4<u32>>(x + MAGIC) & vec4<u32>(0xffu);
    return q.x | (q.y << 8u) | (q.z << 16u) | (q.w << 24u);
}

fn lay_x(token: u32, count: u32, base: u32, lane: u32) {
    let end = min(CHUNK / 16u, (p.octets >> 1u) - base);
    for (var t = 0u; t < TOKENS; t++) {
        let at = row_of_x(token + t, count);
        for (var i = lane; i < end; i += LANES) {
            let a = octet_of(at, 2u * (base + i));
            let b = octet_of(at, 2u * (base + i) + 1u);
            let top = largest(max(max(abs(a.a), abs(a.b)), max(abs(b.a), abs(b.b))));
            let inverse = inverse_of(top, 127.0);
            let q = vec4<u32>(bytes_of(a.a * inverse), bytes_of(a.b * inverse), bytes_of(b.a * inverse), bytes_of(b.b * inverse));
            let one = 0x01010101u;
            // A minimum is multiplied with what x became too: what is rounded then moves an element by its weight, not by its
            // quantum.
            let sum = dot4I8Packed(q.x, one) + dot4I8Packed(q.y, one) + dot4I8Packed(q.z, one) + dot4I8Packed(q.w, one);
            let scale = top * (1.0 / 127.0);
            xs[t * (CHUNK / 16u) + i] = q;
            scales_of_x[t * (CHUNK / 16u) + i] = vec2<f32>(scale, scale * f32(sum));
        }
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) place: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let begin = (id.y * groups.x + id.x) * ROWS * (LANES / SUBGROUP);
    // The same for all of a workgroup.
    if (begin >= p.rows) { return; }
    let first = begin + subgroup * ROWS;
    let token = id.z * TOKENS;
    let count = batch[p.counted];
    let blocks = p.octets >> 2u;
    var at: array<u32, ROWS>;
    var sums: array<f32, ROWS * TOKENS>;
    // Outside of the loops, which would clear them each time.
    var s: array<Scales, ROWS>;
    var q: array<Quanta, ROWS>;
    for (var r = 0u; r < ROWS; r++) { at[r] = min(first + r, p.rows - 1u) * blocks; }
    var block = min(place, blocks - 1u);
    for (var r = 0u; r < ROWS; r++) {
        q[r] = quanta(at[r] + block);
        s[r] = scales((at[r] + block) / SPAN);
    }
    for (var base = 0u; base < blocks; base += CHUNK / 32u) {
        lay_x(token, count, 2u * base, lane);
        workgroupBarrier();
        let end = min(base + CHUNK / 32u, blocks);
        for (var b = base + place; b < end; b += SUBGROUP) {
            // What comes next, also in the next chunk; at the end the last once more.
            let next = min(b + SUBGROUP, blocks - 1u);
            let i = 2u * (b - base);
            for (var r = 0u; r < ROWS; r++) {
                let now = q[r];
                let scales_now = s[r];
                q[r] = quanta(at[r] + next);
                s[r] = scales((at[r] + next) / SPAN);
                for (var half = 0u; half < 2u; half++) {
                    let sm = scale(scales_now, 2u * (b % SPAN) + half);
                    let first_octet = part_packed(now, 2u * half);
                    let second_octet = part_packed(now, 2u * half + 1u);
                    for (var t = 0u; t < TOKENS; t++) {
                        let x = xs[t * (CHUNK / 16u) + i + half];
                        let of_x = scales_of_x[t * (CHUNK / 16u) + i + half];
                        let found = dot4I8Packed(first_octet.x, x.x) + dot4I8Packed(first_octet.y, x.y)
                            + dot4I8Packed(second_octet.x, x.z) + dot4I8Packed(second_octet.y, x.w);
                        var sum = sm.x * of_x.x * f32(found);
                        if (MINIMA) { sum += sm.y * of_x.y; }
                        sums[r * TOKENS + t] += sum;
                    }
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < ROWS * TOKENS; i++) {
        let sum = subgroupAdd(sums[i]);
        let row = first + i / TOKENS;
        let t = token + i % TOKENS;
        if (place == i % SUBGROUP && row < p.rows && t < count) { put(t, row, sum); }
    }
}

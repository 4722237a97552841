// Op::Linear where a load costs more than everything that is done with what it brings (drivers that run on the processor:
// an invocation is a place in a SIMD register, and each of a register's places is loaded by itself).
//
// Shapes as in matvec.wgsl; the width is a multiple of 32. An invocation computes ROWS rows for TOKENS tokens, alone, 32
// elements at a time. Of x it loads its share, and has the others' from them: x costs a load and not one for each
// invocation. Subgroups have eight invocations (WIDE) or four.
// Workgroups: x and y together over rows / (LANES * ROWS), z over tokens / TOKENS.
// Oracle: reference::linear::multiply.

struct Sixteen { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

// What the first four invocations of the subgroup have, and what the next four have.
fn of_the_first(own: vec4<f32>) -> Sixteen {
    let a = subgroupBroadcast(own, 0u);
    let b = subgroupBroadcast(own, 1u);
    return Sixteen(a, b, subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u));
}
//#if WIDE
fn of_the_next(own: vec4<f32>) -> Sixteen {
    let a = subgroupBroadcast(own, 4u);
    let b = subgroupBroadcast(own, 5u);
    return Sixteen(a, b, subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u));
}
//#end

fn product(a: Eight, b: Eight, x: Sixteen) -> f32 { return dot(a.a, x.a) + dot(a.b, x.b) + dot(b.a, x.c) + dot(b.b, x.d); }
fn sum_of_sixteen(x: Sixteen) -> f32 {
    let sum = (x.a + x.b) + (x.c + x.d);
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// Adds half `half` of a block, whose x is `x`.
fn add_half(
    sums: ptr<function, array<array<f32, TOKENS>, ROWS>>,
    s: ptr<function, array<Scales, ROWS>>,
    q: ptr<function, array<Quanta, ROWS>>,
    x: ptr<function, array<Sixteen, TOKENS>>,
    b: u32,
    half: u32,
) {
    var all: array<f32, TOKENS>;
    if (MINIMA) {
        for (var t = 0u; t < TOKENS; t++) { all[t] = sum_of_sixteen((*x)[t]); }
    }
    for (var r = 0u; r < ROWS; r++) {
        let sm = scale((*s)[r], 2u * b + half);
        let first = part((*q)[r], 2u * half);
        let second = part((*q)[r], 2u * half + 1u);
        for (var t = 0u; t < TOKENS; t++) {
            var sum = sm.x * product(first, second, (*x)[t]);
            if (MINIMA) { sum += sm.y * all[t]; }
            (*sums)[r][t] += sum;
        }
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let first = (id.y * groups.x + id.x) * LANES * ROWS;
    // The same for all of a workgroup.
    if (first >= p.rows) { return; }
    let token = id.z * TOKENS;
    let count = batch[p.counted];
    let blocks = p.octets >> 2u;
    var at: array<u32, TOKENS>;
    var begin: array<u32, ROWS>;
    var sums: array<array<f32, TOKENS>, ROWS>;
    // Outside of the loops, which would clear them each time (and naga's HLSL would have two functions of one name for it).
    var s: array<Scales, ROWS>;
    var q: array<Quanta, ROWS>;
    var x: array<Sixteen, TOKENS>;
    var own: array<vec4<f32>, TOKENS>;
    for (var t = 0u; t < TOKENS; t++) { at[t] = (row_of_x(token + t, count) >> 2u) + place; }
    for (var r = 0u; r < ROWS; r++) { begin[r] = min(first + lane + r * LANES, p.rows - 1u) * blocks; }
    for (var base = 0u; base < blocks; base += SPAN) {
        for (var r = 0u; r < ROWS; r++) { s[r] = scales((begin[r] + base) / SPAN); }
        for (var b = 0u; b < SPAN; b++) {
            for (var r = 0u; r < ROWS; r++) { q[r] = quanta(begin[r] + base + b); }
            for (var t = 0u; t < TOKENS; t++) { own[t] = acts4[at[t] + 8u * (base + b)]; }
            for (var t = 0u; t < TOKENS; t++) { x[t] = of_the_first(own[t]); }
            add_half(&sums, &s, &q, &x, b, 0u);
//#if WIDE
            for (var t = 0u; t < TOKENS; t++) { x[t] = of_the_next(own[t]); }
//#else
            for (var t = 0u; t < TOKENS; t++) { own[t] = acts4[at[t] + 8u * (base + b) + 4u]; }
            for (var t = 0u; t < TOKENS; t++) { x[t] = of_the_first(own[t]); }
//#end
            add_half(&sums, &s, &q, &x, b, 1u);
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        let row = first + lane + r * LANES;
        for (var t = 0u; t < TOKENS; t++) {
            if (row < p.rows && token + t < count) { put(token + t, row, sums[r][t]); }
        }
    }
}

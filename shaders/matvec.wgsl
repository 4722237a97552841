// Op::Linear for few tokens: out = W x + bias, or out += factor (W x + bias).
//
// W: [width, rows] in any block format; x: [width] and out: [rows] for each token.
// A workgroup of LANES invocations computes ROWS rows for TOKENS tokens: each invocation takes every LANES-th octet of
// all the rows, so that neighbours read neighbouring words, and decodes each weight once for all tokens.
// Workgroups: x and y together over rows / ROWS, z over tokens / TOKENS.
// Oracle: reference::linear::multiply.

const SUMS: u32 = ROWS * TOKENS;

fn work(here: Workgroup, at: Place) {
    let first = (here.id.y * here.groups.x + here.id.x) * ROWS;
    if (first >= p.rows) { return; }
    let token = here.id.z * TOKENS;
    let count = batch[p.counted];
    var sums: array<f32, SUMS>;
    for (var octet = at.lane; octet < p.octets; octet += LANES) {
        var x: array<Eight, TOKENS>;
        var all: array<f32, TOKENS>;
        for (var t = 0u; t < TOKENS; t++) {
            x[t] = octet_of(p.x_at + min(token + t, count - 1u) * p.x_stride, octet);
            if (MINIMA) { all[t] = sum_of(x[t]); }
        }
        for (var r = 0u; r < ROWS; r++) {
            let row = min(first + r, p.rows - 1u);
            let s = group(row, octet);
            let q = eight(row, octet);
            for (var t = 0u; t < TOKENS; t++) {
                var sum = s.x * (dot(q.a, x[t].a) + dot(q.b, x[t].b));
                if (MINIMA) { sum += s.y * all[t]; }
                sums[r * TOKENS + t] += sum;
            }
        }
    }
    lay_out(at, &sums);
    for (var i = at.lane; i < SUMS; i += LANES) {
        let row = first + i / TOKENS;
        let t = token + i % TOKENS;
        if (row < p.rows && t < count) { put(t, row, sum_of_parts(at, i)); }
    }
}

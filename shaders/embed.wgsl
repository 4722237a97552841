// Op::Embed and Op::AddRow: out = factor * table[row], or out += factor * table[row].
//
// table: [width, rows] in any block format; out: [width] for each token. The row is the token's id, its position, or
// always the same (`by`). A workgroup of 64 invocations, each one octet of one token. A table may be cut into parts;
// tokens of other parts are left alone.
// Workgroups: x over octets / 64, y over tokens.
// Oracle: reference, decode_row.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let octet = id.x;
    let token = id.y;
    if (octet >= p.octets) { return; }
    var row = p.row;
    if (p.by == 0u) { row = token_id(token); }
    if (p.by == 1u) { row = token_position(token); }
    if (row < p.row_first || row >= p.row_first + p.rows) { return; }
    row -= p.row_first;
    let x = decoded(row, octet);
    let a = p.factor * x.a;
    let b = p.factor * x.b;
    let at = p.out_at + token * p.out_stride + 8u * octet;
    for (var i = 0u; i < 8u; i++) {
        let value = select(a[i & 3u], b[i & 3u], i > 3u);
        if (8u * octet + i < p.width) {
            if (p.add == 1u) { acts[at + i] += value; } else { acts[at + i] = value; }
        }
    }
}

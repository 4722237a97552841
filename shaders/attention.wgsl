// What kernels of attention over the cache share: parameters, what a workgroup is for, where its results go. Not a kernel.
struct Params {
    q_at: u32,
    q_stride: u32,
    out_at: u32,
    out_stride: u32,
    scratch_at: u32,
    heads: u32,
    kv_heads: u32,
    // Query heads that share a head of keys, and in how many tiles.
    shared_by: u32,
    tiles: u32,
    // 0 for none.
    window: u32,
    sinks_at: u32,
    scale: f32,
    // 0 for none.
    softcap: f32,
}
@group(0) @binding(0) var<uniform> p: Params;

// Query heads from `head` on that share head `kv` of keys, HEADS or what is left, for one token and the positions from
// `first` to `end`; `table` is where that token's cells are listed.
struct Tile {
    kv: u32,
    head: u32,
    count: u32,
    token: u32,
    table: u32,
    first: u32,
    end: u32,
}

fn tile_of(id: vec3<u32>) -> Tile {
    let kv = id.x / p.tiles;
    let tile = (id.x % p.tiles) * HEADS;
    let position = token_position(id.y);
    var first = 0u;
    if (p.window > 0u && position + 1u > p.window) { first = position + 1u - p.window; }
    first = max(first, id.z * batch[3]);
    let end = min(position + 1u, (id.z + 1u) * batch[3]);
    return Tile(kv, kv * p.shared_by + tile, min(HEADS, p.shared_by - tile), id.y, token_table(id.y), first, end);
}

fn score_of(found: f32) -> f32 {
    let score = found * p.scale;
    if (p.softcap > 0.0) { return p.softcap * tanh(clamp(score / p.softcap, -15.0, 15.0)); }
    return score;
}

// Where the value of a head goes, and what it is divided by.
struct Goal { at: u32, total: f32 }

// With more than one segment that is scratch for combine.wgsl, and whoever writes the first element says what all weigh.
fn goal_of(token: u32, head: u32, segment: u32, is_first: bool, top: f32, total: f32) -> Goal {
    if (batch[2] <= 1u) { return Goal(p.out_at + token * p.out_stride + head * VALUE, total); }
    let place = p.scratch_at + ((token * p.heads + head) * batch[2] + segment) * (VALUE + 2u);
    if (is_first) {
        acts[place] = top;
        acts[place + 1u] = total;
    }
    return Goal(place + 2u, 1.0);
}

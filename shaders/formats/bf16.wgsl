// BF16: four words an octet; a row that ends in an octet is filled up with zeros.
fn wide(word: u32) -> vec2<f32> { return vec2<f32>(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u)); }
fn eight(row: u32, octet: u32) -> Eight {
    let at = 4u * (row * p.octets + octet);
    return Eight(vec4<f32>(wide(w[at]), wide(w[at + 1u])), vec4<f32>(wide(w[at + 2u]), wide(w[at + 3u])));
}
//#if BLOCKS
fn part(q: Quanta, i: u32) -> Eight {
    let four = w4[4u * q + i];
    return Eight(vec4<f32>(wide(four.x), wide(four.y)), vec4<f32>(wide(four.z), wide(four.w)));
}
//#end

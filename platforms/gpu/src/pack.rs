//! Weights as kernels read them: the same bits as in the file, put so that neighbours in a workgroup read neighbouring
//! words.
//!
//! A file has blocks one after the other, of 17 to 210 bytes, quanta beside their scales. Kernels read words. So each
//! matrix becomes up to four *planes*, one after the other: quanta, high bits of quanta, scales, scales of scales; what
//! lies in which is said at the head of each `shaders/formats/*.wgsl`. Nothing is rounded and nothing grows.

use tutu_llm::quant::Kind;

/// Elements that a kernel reads at once.
pub const OCTET: usize = 8;

/// Bytes of one row in each plane: quanta, high bits, scales, scales of scales.
pub fn row_bytes(kind: Kind, width: usize) -> [usize; 4] {
    let octets = width.div_ceil(OCTET);
    let (blocks, supers) = (octets / 4, octets / 32);
    match kind {
        Kind::F32 => [32 * octets, 0, 0, 0],
        Kind::F16 | Kind::Bf16 => [16 * octets, 0, 0, 0],
        Kind::Q4_0 | Kind::Iq4Nl => [4 * octets, 0, 2 * blocks, 0],
        Kind::Q4_1 => [4 * octets, 0, 4 * blocks, 0],
        Kind::Q5_0 => [4 * octets, octets, 2 * blocks, 0],
        Kind::Q5_1 => [4 * octets, octets, 4 * blocks, 0],
        Kind::Q8_0 => [8 * octets, 0, 2 * blocks, 0],
        Kind::Q2K => [2 * octets, 0, 20 * supers, 0],
        Kind::Q3K => [2 * octets, octets, 12 * supers, 2 * supers],
        Kind::Q4K => [4 * octets, 0, 16 * supers, 0],
        Kind::Q5K => [4 * octets, octets, 16 * supers, 0],
        Kind::Q6K => [4 * octets, 2 * octets, 16 * supers, 2 * supers],
        Kind::Iq4Xs => [4 * octets, 0, 8 * supers, 0],
        Kind::Mxfp4 => [4 * octets, 0, blocks, 0],
    }
}

/// Appends whole rows, as the file has them, to the planes.
pub fn pack(kind: Kind, width: usize, rows: &[u8], planes: &mut [Vec<u8>; 4]) {
    let row = kind.row_bytes(width).expect("checked when the tensor was added");
    for row in rows.chunks_exact(row) {
        match kind {
            Kind::F32 | Kind::F16 | Kind::Bf16 => {
                planes[0].extend_from_slice(row);
                let filled = width.div_ceil(OCTET) * OCTET * kind.block_bytes();
                planes[0].resize(planes[0].len() + filled - row.len(), 0);
            }
            _ => row.chunks_exact(kind.block_bytes()).for_each(|block| pack_block(kind, block, planes)),
        }
    }
}

fn pack_block(kind: Kind, block: &[u8], planes: &mut [Vec<u8>; 4]) {
    let mut quanta = [0; 256];
    let quanta = &mut quanta[..kind.block_len()];
    take_quanta(kind, block, quanta);
    let [low, high, scales, tops] = planes;
    for q in quanta.chunks_exact(OCTET) {
        match kind {
            Kind::Q8_0 => low.extend_from_slice(q),
            Kind::Q2K | Kind::Q3K => low.extend(gather(q, 0, 2).to_le_bytes()),
            _ => low.extend((0..4).map(|i| q[i] & 15 | q[i + 4] << 4)),
        }
        match kind {
            Kind::Q5_0 | Kind::Q5_1 | Kind::Q5K => high.push(gather(q, 4, 1) as u8),
            Kind::Q3K => high.push(gather(q, 2, 1) as u8),
            Kind::Q6K => high.extend(gather(q, 4, 2).to_le_bytes()),
            _ => {}
        }
    }
    match kind {
        Kind::Q4_0 | Kind::Q5_0 | Kind::Q8_0 | Kind::Iq4Nl => scales.extend_from_slice(&block[..2]),
        Kind::Q4_1 | Kind::Q5_1 => scales.extend_from_slice(&block[..4]),
        Kind::Q2K => {
            scales.extend_from_slice(&block[80..84]);
            scales.extend_from_slice(&block[..16]);
        }
        Kind::Q3K => {
            scales.extend(three_bit_scales(&block[96..108]));
            tops.extend_from_slice(&block[108..110]);
        }
        Kind::Q4K | Kind::Q5K => scales.extend_from_slice(&block[..16]),
        Kind::Q6K => {
            scales.extend_from_slice(&block[192..208]);
            tops.extend_from_slice(&block[208..210]);
        }
        Kind::Iq4Xs => scales.extend_from_slice(&block[..8]),
        Kind::Mxfp4 => scales.push(block[0]),
        Kind::F32 | Kind::F16 | Kind::Bf16 => unreachable!("these have no blocks"),
    }
}

/// Bits `first .. first + bits` of eight quanta, the first lowest.
fn gather(quanta: &[u8], first: usize, bits: usize) -> u16 {
    let mask = (1u16 << bits) - 1;
    quanta.iter().enumerate().fold(0, |all, (i, &q)| all | (u16::from(q >> first) & mask) << (bits * i))
}

/// The quanta of a block as whole numbers, in the order of its elements. Layouts: `tutu_llm::quant`.
fn take_quanta(kind: Kind, block: &[u8], out: &mut [u8]) {
    // Low halves of sixteen bytes, then their high halves.
    let nibble = |q: &[u8], i: usize| if i % 32 < 16 { q[i % 16] & 15 } else { q[i % 16] >> 4 };
    let bit = |bytes: &[u8], i: usize| (bytes[i / 8] >> (i % 8)) & 1;
    for (i, out) in out.iter_mut().enumerate() {
        // Of 256 elements: which 128, 64 and 32, and the place inside.
        let (a, c) = (i / 128, i % 32);
        *out = match kind {
            Kind::Q4_0 | Kind::Iq4Nl => nibble(&block[2..], i),
            Kind::Q4_1 => nibble(&block[4..], i),
            Kind::Mxfp4 => nibble(&block[1..], i),
            Kind::Q5_0 => nibble(&block[6..], i) | bit(&block[2..], i) << 4,
            Kind::Q5_1 => nibble(&block[8..], i) | bit(&block[4..], i) << 4,
            Kind::Q8_0 => block[2 + i],
            Kind::Q2K => (block[16 + 32 * a + c] >> (2 * (i / 32 % 4))) & 3,
            Kind::Q3K => {
                let low = (block[32 + 32 * a + c] >> (2 * (i / 32 % 4))) & 3;
                low | ((block[c] >> (i / 32)) & 1) << 2
            }
            Kind::Q4K => block[16 + 32 * (i / 64) + c] >> (4 * (i / 32 % 2)) & 15,
            Kind::Q5K => {
                let low = block[48 + 32 * (i / 64) + c] >> (4 * (i / 32 % 2)) & 15;
                low | ((block[16 + c] >> (i / 32)) & 1) << 4
            }
            Kind::Q6K => {
                let b = i / 32 % 4;
                let low = block[64 * a + 32 * (b % 2) + c] >> (4 * (b / 2)) & 15;
                low | ((block[128 + 32 * a + c] >> (2 * b)) & 3) << 4
            }
            Kind::Iq4Xs => nibble(&block[8 + 16 * (i / 32)..], i),
            Kind::F32 | Kind::F16 | Kind::Bf16 => unreachable!("these have no quanta"),
        };
    }
}

/// The sixteen scales of Q3_K, six bits each: two words of low halves, then a word of high two bits.
fn three_bit_scales(packed: &[u8]) -> [u8; 12] {
    let scale = |s: usize| {
        let four = if s < 8 { packed[s] & 15 } else { packed[s - 8] >> 4 };
        four | ((packed[8 + s % 4] >> (2 * (s / 4))) & 3) << 4
    };
    let mut out = [0; 12];
    let (low, high) = out.split_at_mut(8);
    for (i, byte) in low.iter_mut().enumerate() {
        *byte = scale(2 * i) & 15 | scale(2 * i + 1) << 4;
    }
    for (i, byte) in high.iter_mut().enumerate() {
        *byte = (0..4).fold(0, |byte, j| byte | (scale(4 * i + j) >> 4) << (2 * j));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_no_more_than_the_file() {
        for kind in Kind::ALL {
            assert_eq!(row_bytes(kind, 512).iter().sum::<usize>(), kind.row_bytes(512).unwrap(), "{kind}");
        }
    }

    #[test]
    fn planes_grow_by_what_a_row_says() {
        for kind in Kind::ALL {
            let mut planes = Default::default();
            pack(kind, 512, &vec![0x5a; 3 * kind.row_bytes(512).unwrap()], &mut planes);
            assert_eq!(planes.map(|plane| plane.len()), row_bytes(kind, 512).map(|bytes| 3 * bytes), "{kind}");
        }
    }

    #[test]
    fn a_row_that_ends_in_an_octet_is_filled_up() {
        let mut planes = Default::default();
        pack(Kind::F16, 3, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], &mut planes);
        assert_eq!(planes[0].len(), 2 * row_bytes(Kind::F16, 3)[0]);
        assert_eq!(planes[0][..8], [1, 2, 3, 4, 5, 6, 0, 0]);
        assert_eq!(planes[0][16..22], [7, 8, 9, 10, 11, 12]);
    }
}

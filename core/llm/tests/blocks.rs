//! Every block format against an independent decoder.

use tutu_llm::quant::{Kind, dequantise};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

#[test]
fn all_sixteen_formats_decode_as_the_reference_package_does() {
    let mut seen = Vec::new();
    for line in include_str!("data/blocks.txt").lines().skip(1) {
        let [name, blocks, values] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).unwrap();
        let (blocks, values) = (bytes(blocks), bytes(values));
        let wanted: Vec<f32> = values.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let mut found = vec![0.0; wanted.len()];
        dequantise(kind, &blocks, &mut found);
        // The order of the multiplications differs, so the last bit may. Where a minimum is taken away, the
        // error is relative to what it is taken from.
        let size = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert!((found - wanted).abs() <= 2e-7 * size, "{kind} {i}: {found} and {wanted}");
        }
        seen.push(kind);
    }
    assert_eq!(seen.len(), Kind::ALL.len());
}

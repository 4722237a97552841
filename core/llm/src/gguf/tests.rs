use alloc::{string::ToString, sync::Arc, vec, vec::Vec};

use super::*;
use crate::weights::Bytes;

fn small() -> Writer {
    let mut writer = Writer::new();
    writer
        .set("general.architecture", Meta::Str("llama".into()))
        .set("a.number", Meta::U32(7))
        .set("a.list", Meta::Strings(vec!["x".into(), "yy".into()]))
        .set("a.floats", Meta::f32s([1.5, -2.0]))
        .tensor("one", Kind::F32, &[3, 2])
        .tensor("two", Kind::Q8_0, &[32]);
    writer
}

fn bytes() -> Vec<u8> {
    small().file(|name| if name == "one" { vec![1; 24] } else { vec![2; 34] })
}

#[test]
fn what_is_written_is_read_again() {
    let bytes = bytes();
    let file = Gguf::parse(&bytes).unwrap();
    assert_eq!(file.str("general.architecture"), Some("llama"));
    assert_eq!(file.u32("a.number"), Some(7));
    assert_eq!(file.array("a.list").unwrap().strings().collect::<Vec<_>>(), ["x", "yy"]);
    assert_eq!(file.array("a.floats").unwrap().f32s().collect::<Vec<_>>(), [1.5, -2.0]);
    let two = file.tensors()[1];
    assert_eq!((two.name, two.kind, two.dims), ("two", Kind::Q8_0, [32, 1, 1, 1]));
    assert_eq!(&bytes[two.offset..two.offset + two.size], [2; 34]);
}

#[test]
fn every_shorter_file_is_refused() {
    let bytes = bytes();
    // The last bytes are padding, which may be missing.
    for len in 0..bytes.len() - 30 {
        assert!(Gguf::parse(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_head_that_claims_too_much_is_refused_before_anything_is_allocated() {
    let mut bytes = bytes();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(Gguf::parse(&bytes), Err(Error::Limit { what: "the number of tensors", .. })));
}

#[test]
fn foreign_element_types_are_refused_by_name() {
    let mut writer = Writer::new();
    writer.tensor("w", Kind::Mxfp4, &[32]);
    let mut bytes = writer.file(|_| vec![0; 17]);
    let at = bytes.windows(4).position(|four| four == 39u32.to_le_bytes()).unwrap();
    bytes[at] = 16;
    let text = Gguf::parse(&bytes).unwrap_err().to_string();
    assert_eq!(text, "tensor \"w\" has the element type IQ2_XXS (16), which is not supported");
}

#[test]
fn a_key_that_stands_there_twice_is_refused() {
    let mut writer = Writer::new();
    writer.set("aa", Meta::Bool(true)).set("ab", Meta::Bool(true));
    let mut bytes = writer.head();
    let at = bytes.windows(2).position(|two| two == b"ab").unwrap();
    bytes[at + 1] = b'a';
    assert_eq!(Gguf::parse(&bytes).unwrap_err(), Error::DuplicateKey("aa".into()));
}

#[test]
fn parts_of_a_split_model_must_belong_together() {
    let part = |number: u32, name: &str| -> Bytes {
        let mut writer = Writer::new();
        writer.set("split.no", Meta::U32(number)).set("split.count", Meta::U32(2)).tensor(name, Kind::F32, &[1]);
        Arc::new(writer.file(|_| vec![0; 4]))
    };
    let both = weights(&[part(0, "a"), part(1, "b")]).unwrap();
    assert_eq!(both.iter().count(), 2);
    assert!(matches!(weights(&[part(0, "a")]), Err(Error::Split(_))));
    assert!(matches!(weights(&[part(1, "a"), part(0, "b")]), Err(Error::Split(_))));
    assert_eq!(weights(&[part(0, "a"), part(1, "a")]).err(), Some(Error::DuplicateTensor("a".into())));
}

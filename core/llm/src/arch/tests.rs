use alloc::string::ToString;

use super::*;

#[test]
fn an_unknown_architecture_is_refused_by_its_name() {
    let text = Error::Unsupported("mamba".into()).to_string();
    assert!(text.starts_with("the architecture \"mamba\" is not supported; these are: llama"));
}

//! The bounded run, with the allocator that counts.

use std::sync::Arc;

use tutu_fuzz::{count, run, seeds, targets};
use tutu_llm::{arch::Model, gguf, gguf::Gguf, token::Tokenizer, weights::Bytes};

#[global_allocator]
static COUNTING: count::Counting = count::Counting;

#[test]
fn twenty_thousand_harmed_files_cause_no_panic_and_no_large_allocation() {
    let outcome = run::run(1, 20_000);
    assert_eq!(outcome.files, 20_000);
    // Were nothing counted, or all refused at the door, nothing would be proved.
    assert!(outcome.memory_percent > 0, "{outcome:?}");
    for ((name, food, _), taken) in targets::ALL.into_iter().zip(outcome.taken) {
        let least = if food == targets::Food::File { 500 } else { 200 };
        assert!(taken > least, "{name}: {taken}");
    }
}

#[test]
fn the_seeds_are_sound_so_that_harm_reaches_every_corner() {
    let file = |bytes: Vec<u8>| -> Bytes { Arc::new(bytes) };
    for bytes in [seeds::llama(), seeds::bert()] {
        assert!(Tokenizer::from_gguf(&Gguf::parse(&bytes).unwrap()).is_ok());
        Model::load(&[file(bytes)], 0).map(|_| ()).unwrap();
    }
    assert!(Tokenizer::from_gguf(&Gguf::parse(&seeds::pieces()).unwrap()).is_ok());
    assert_eq!(gguf::weights(&[file(seeds::formats())]).unwrap().iter().count(), 16);
    assert_eq!(gguf::weights(&seeds::parts().map(file)).unwrap().iter().count(), 4);
    assert!([seeds::SCHEMA, seeds::SHORT_SCHEMA].iter().all(|schema| targets::schema(schema.as_bytes())));
    assert!(targets::gbnf(seeds::GBNF.as_bytes()));
    assert!(seeds::packets().iter().all(|bytes| targets::packet(bytes)));
    assert_eq!(seeds::packets().iter().filter(|bytes| targets::gossip(bytes)).count(), 9);
}

#[test]
fn no_target_minds_an_empty_input() {
    assert!(targets::ALL.into_iter().all(|(.., target)| !target(&[])));
}

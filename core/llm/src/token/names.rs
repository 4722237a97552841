//! What files leave unsaid: the names of tokens and pre-tokenizers that everybody knows.

use super::split::{Digits, Pass};

/// Tokens that end a generation whatever the file says, as llama.cpp has them.
pub(super) const ENDS: [&str; 17] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];

/// Whether a beginning mark is added where the file does not say.
pub(super) fn begins(pre: &str) -> bool {
    matches!(
        pre,
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" | "tekken"
    )
}

/// Whether a word that is a token as it stands is not put together from its parts.
pub(super) fn takes_whole_words(pre: &str) -> bool {
    begins(pre) || matches!(pre, "glm4" | "youtu" | "minicpm5")
}

/// How a text is cut before its bytes are merged, by the name in the file.
pub(super) fn passes(pre: &str) -> Option<&'static [Pass]> {
    use Pass::*;
    const LLAMA3: &[Pass] = &[Words { digits: Digits::UpTo(3), contractions: true }];
    const QWEN2: &[Pass] = &[Words { digits: Digits::UpTo(1), contractions: true }];
    Some(match pre {
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" | "dbrx"
        | "smaug-bpe" | "chatglm-bpe" | "glm4" => LLAMA3,
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2" | "hunyuan" | "solar-open"
        | "grok-2" => QWEN2,
        "gpt-2" | "phi-2" | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert" | "jina-es" | "jina-de"
        | "jina-v2-es" | "jina-v2-de" | "jina-v1-en" | "jina-v2-code" | "roberta-bpe" | "mpt" | "olmo" | "jais"
        | "trillion" | "granite-docling" | "exaone4" => &[Gpt2],
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
            &[Numbers(Digits::UpTo(1)), Gpt2]
        }
        "gpt-4o" | "llama4" | "kanana2" => &[Cased { digits: Digits::UpTo(3), contractions: true }],
        "tekken" => &[Cased { digits: Digits::UpTo(1), contractions: false }],
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => &[Numbers(Digits::UpTo(3)), Ideographs, Punctuated],
        "falcon" => &[Punctuation { backtick: true }, Gpt2, ThreeDigits],
        "default" => &[Punctuation { backtick: false }, Gpt2, Numbers(Digits::All), ThreeDigits],
        _ => return None,
    })
}

//! Templates for models that come without one.

use alloc::{format, string::String};

/// A template for models that come without one, in Jinja, by name: what their families are known to use.
pub fn default_template(architecture: &str, has: impl Fn(&str) -> bool) -> (&'static str, String) {
    if has("<|im_start|>") {
        return ("chatml", turns("<|im_start|>", "\n", "<|im_end|>\n", "<|im_start|>assistant\n"));
    }
    if has("<|start_header_id|>") {
        let head = "<|start_header_id|>";
        let after = "<|end_header_id|>\n\n";
        return ("llama3", turns(head, after, "<|eot_id|>", &format!("{head}assistant{after}")));
    }
    if has("<start_of_turn>") || architecture.starts_with("gemma") {
        return ("gemma", GEMMA.into());
    }
    if has("<|end|>") && has("<|user|>") {
        return ("phi3", turns("<|", "|>\n", "<|end|>\n", "<|assistant|>\n"));
    }
    if has("[INST]") || architecture == "llama" && has("</s>") {
        return ("llama2", LLAMA2.into());
    }
    ("plain", turns("", ": ", "\n", "assistant: "))
}

/// The common shape: each turn is a head with the role, the text, an end.
fn turns(head: &str, after: &str, end: &str, generation: &str) -> String {
    let quote = |text: &str| serde_json::to_string(text).unwrap_or_default();
    format!(
        "{{% for message in messages %}}{{{{ {} + message['role'] + {} + message['content'] + {} }}}}{{% endfor %}}{{% if add_generation_prompt %}}{{{{ {} }}}}{{% endif %}}",
        quote(head),
        quote(after),
        quote(end),
        quote(generation),
    )
}

/// Gemma has no system role: its text goes before the first message of the user.
const GEMMA: &str = "{% set ns = namespace(system='') %}{% for message in messages %}{% if message['role'] == 'system' %}\
{% set ns.system = message['content'] + '\n\n' %}{% else %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' \
else 'user') + '\n' + ns.system + message['content'] + '<end_of_turn>\n' }}{% set ns.system = '' %}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

const LLAMA2: &str = "{% set ns = namespace(system='') %}{% for message in messages %}{% if message['role'] == 'system' %}\
{% set ns.system = '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n\n' %}{% elif message['role'] == 'assistant' %}\
{{ ' ' + message['content'] + ' ' + eos_token }}{% else %}{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}\
{% set ns.system = '' %}{% endif %}{% endfor %}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_a_template_gets_that_of_its_family() {
        let name = |arch: &str, tokens: &[&str]| default_template(arch, |name| tokens.contains(&name)).0;
        assert_eq!(name("qwen2", &["<|im_start|>"]), "chatml");
        assert_eq!(name("llama", &["<|start_header_id|>"]), "llama3");
        assert_eq!(name("gemma2", &[]), "gemma");
        assert_eq!(name("llama", &["</s>"]), "llama2");
    }
}

//! How a family of models marks what is no plain answer: told by its template and its vocabulary.
//!
//! | thoughts | who |
//! |---|---|
//! | `<think>` ... `</think>` | qwen3, deepseek-r1 (whose template opens the block itself), smollm3 and most others |
//! | `[THINK]` ... `[/THINK]` | magistral |
//! | `<thought>` ... `</thought>` | exaone |
//! | `<\|START_THINKING\|>` ... `<\|END_THINKING\|>` | cohere |
//! | the channel `analysis` | gpt-oss |
//!
//! | calls | who |
//! |---|---|
//! | `<tool_call>{"name": "f", "arguments": {}}</tool_call>` | Hermes, qwen2.5, qwen3, smollm3 |
//! | `<tool_call><function=f><parameter=a>1</parameter></function></tool_call>` | qwen3-coder |
//! | `{"name": "f", "parameters": {}}`, or the same after `<\|python_tag\|>` | llama 3 |
//! | `[TOOL_CALLS][{"name": "f", "arguments": {}}]` | mistral, up to 2024 |
//! | `[TOOL_CALLS]f[ARGS]{}` | mistral, since |
//! | `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f` and a block of JSON | deepseek |
//! | `<\|tool_call\|>[{"name": "f", "arguments": {}}]<\|/tool_call\|>` | phi 4, granite |
//! | the channel `commentary`, to `functions.f` | gpt-oss |
//!
//! Sources: the templates that those models publish; OpenAI, "Harmony response format" (2025).

/// What a family of models marks how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// How thoughts are told from the answer; `None` for models that do not think.
    pub thoughts: Option<Thoughts>,
    /// How calls of tools are written; `None` where the template has no word for tools.
    pub calls: Option<Calls>,
    /// Whether an answer is a series of messages in channels (gpt-oss).
    pub channels: bool,
}

/// The marks around thoughts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thoughts {
    /// Where they begin.
    pub open: &'static str,
    /// Where they end.
    pub close: &'static str,
    /// What stands between their end and the answer.
    pub after: &'static str,
}

/// How calls of tools are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// What they begin with; empty where an answer that begins with a brace is a call.
    pub open: &'static str,
    /// What may stand there in its place.
    pub also: &'static str,
    /// What stands before each call.
    pub before: &'static str,
    /// How name and arguments are written.
    pub style: Style,
    /// What stands after each call.
    pub after: &'static str,
    /// What ends them.
    pub close: &'static str,
    /// How there can be several.
    pub several: Several,
}

/// How name and arguments of a call are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As a JSON object; the arguments have this key.
    Object(&'static str),
    /// The name, this, and the arguments as JSON.
    Named(&'static str),
    /// `<function=f>`, and a `<parameter=a>` for each argument.
    Tags,
}

/// How there can be several calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Several {
    /// Not in one answer.
    No,
    /// As a JSON list.
    List,
    /// Within one pair of marks, with this between them.
    Within(&'static str),
    /// Each in marks of its own, with this between them.
    Each(&'static str),
}

const THOUGHTS: [Thoughts; 4] = [
    Thoughts { open: "<think>", close: "</think>", after: "\n\n" },
    Thoughts { open: "[THINK]", close: "[/THINK]", after: "\n" },
    Thoughts { open: "<thought>", close: "</thought>", after: "\n\n" },
    Thoughts { open: "<|START_THINKING|>", close: "<|END_THINKING|>", after: "" },
];

/// A gpt-oss answer as one of the families above has it: thoughts, and then one message.
const ANALYSIS: Thoughts =
    Thoughts { open: "<|channel|>analysis<|message|>", close: "<|end|>", after: "<|start|>assistant" };

const PLAIN: Calls = Calls {
    open: "",
    also: "",
    before: "",
    style: Style::Object("arguments"),
    after: "",
    close: "",
    several: Several::No,
};

/// JSON between tags, each call in its own. It is also what a model is told to write whose template has no word for
/// tools: many have seen it.
pub const HERMES: Calls = Calls {
    open: "<tool_call>",
    before: "\n",
    after: "\n",
    close: "</tool_call>",
    several: Several::Each("\n"),
    ..PLAIN
};

const CODER: Calls = Calls { style: Style::Tags, ..HERMES };

const LLAMA: Calls = Calls { also: "<|python_tag|>", style: Style::Object("parameters"), ..PLAIN };

const MISTRAL: Calls = Calls { open: "[TOOL_CALLS]", several: Several::List, ..PLAIN };

const MISTRAL_NAMED: Calls =
    Calls { open: "[TOOL_CALLS]", style: Style::Named("[ARGS]"), several: Several::Each(""), ..PLAIN };

const PHI: Calls = Calls { open: "<|tool_call|>", close: "<|/tool_call|>", ..MISTRAL };

const GRANITE: Calls = Calls { close: "", ..PHI };

/// Models of this family before 3.1 put the arguments into a block of Markdown.
const DEEPSEEK: Calls = Calls {
    open: "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>",
    before: "<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>function<\u{ff5c}tool\u{2581}sep\u{ff5c}>",
    style: Style::Named("\n```json\n"),
    after: "\n```<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>",
    close: "<\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>",
    several: Several::Within("\n"),
    ..PLAIN
};

const DEEPSEEK_PLAIN: Calls = Calls {
    before: "<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>",
    style: Style::Named("<\u{ff5c}tool\u{2581}sep\u{ff5c}>"),
    after: "<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>",
    several: Several::Within(""),
    ..DEEPSEEK
};

/// The token that ends the message ends the generation too.
const COMMENTARY: Calls = Calls {
    open: "<|channel|>commentary to=functions.",
    style: Style::Named(" <|constrain|>json<|message|>"),
    ..PLAIN
};

impl Family {
    /// The family of a model with this template, whose vocabulary has these tokens.
    pub fn of(template: &str, has: impl Fn(&str) -> bool) -> Self {
        if has("<|channel|>") && has("<|message|>") && has("<|start|>") {
            return Self { thoughts: Some(ANALYSIS), calls: Some(COMMENTARY), channels: true };
        }
        let names = |mark: &str| template.contains(mark) || has(mark);
        let thoughts = THOUGHTS.into_iter().find(|marks| names(marks.open) && names(marks.close));
        Self { thoughts, calls: calls(template), channels: false }
    }

    /// What stands between the beginning of an answer and its text.
    pub fn text_mark(&self) -> &'static str {
        if self.channels { "<|channel|>final<|message|>" } else { "" }
    }
}

/// How calls are written, as the template shows it.
fn calls(template: &str) -> Option<Calls> {
    let has = |mark: &str| template.contains(mark);
    // Both dialects have the word where they list what may be called.
    if !has("tools") && !has("Tools") {
        return None;
    }
    Some(match () {
        () if has("<tool_call>") && has("<function=") => CODER,
        () if has("<tool_call>") => HERMES,
        () if has("[TOOL_CALLS]") && has("[ARGS]") => MISTRAL_NAMED,
        () if has("[TOOL_CALLS]") => MISTRAL,
        () if has(DEEPSEEK.open) && has("```json") => DEEPSEEK,
        () if has(DEEPSEEK.open) => DEEPSEEK_PLAIN,
        () if has("<|tool_call|>") && has("<|/tool_call|>") => PHI,
        () if has("<|tool_call|>") => GRANITE,
        () if has("<|python_tag|>") || has("\"parameters\": ") => LLAMA,
        () if has(".ToolCalls") => PLAIN,
        () => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_known_by_their_marks() {
        let open = |template: &str, tokens: &[&str]| {
            Family::of(template, |name| tokens.contains(&name)).thoughts.map(|marks| marks.open)
        };
        assert_eq!(open("{{ '<think>' }}{{ '</think>' }}", &[]), Some("<think>"));
        assert_eq!(open("{{ messages }}", &["<think>", "</think>"]), Some("<think>"));
        assert_eq!(open("[THINK]{{ .Thinking }}[/THINK]", &[]), Some("[THINK]"));
        assert_eq!(open("{{ messages }}", &["<|im_end|>"]), None);
        assert_eq!(open("", &["<|channel|>", "<|message|>", "<|start|>"]), Some("<|channel|>analysis<|message|>"));
    }

    #[test]
    fn calls_are_known_by_their_marks() {
        let calls = |template: &str| Family::of(template, |_| false).calls;
        assert_eq!(calls("{% if tools %}<tool_call>"), Some(HERMES));
        assert_eq!(calls("{% if tools %}<tool_call><function=name>"), Some(CODER));
        assert_eq!(calls("{{ if .Tools }}{{ range .ToolCalls }}[TOOL_CALLS]"), Some(MISTRAL));
        assert_eq!(calls("tools [TOOL_CALLS][ARGS]"), Some(MISTRAL_NAMED));
        assert_eq!(calls("{{ .Tools }} {\"name\": x, \"parameters\": {{ .ToolCalls }}"), Some(LLAMA));
        assert_eq!(calls("{{ .Tools }}{{ .ToolCalls }}"), Some(PLAIN));
        assert_eq!(calls("{{ messages }}"), None);
        assert_eq!(calls("a word about <tool_call>"), None, "nothing lists tools");
    }
}

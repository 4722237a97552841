//! From messages to a prompt, in the dialect of whichever template the model has.
//!
//! A file brings a Jinja template; a manifest or a TuTufile may set one in its place, usually in Go's language.

use std::fmt;

use tutu_llm::{
    arch::Facts,
    chat::{Guard, Message, Segment, default_template},
    gotmpl::{self, Limits, Think},
    token::Tokenizer,
};

use super::{clock::days_ago, jinja::Jinja};

/// A model's template, ready to render.
pub struct Template {
    dialect: Dialect,
    guard: Guard,
    bos: String,
    eos: String,
}

enum Dialect {
    Jinja(Box<Jinja>),
    Go(Box<gotmpl::Template>),
}

/// What a prompt is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// Tools as the API has them.
    pub tools: &'a [serde_json::Value],
    /// Whether the model shall think first.
    pub think: Think<'a>,
    /// Whether the prompt ends where the model answers. Go's templates always do.
    pub answer: bool,
}

/// Why a prompt could not be made.
#[derive(Debug)]
pub enum Error {
    /// The template is broken.
    Broken(String),
    /// The template refused the messages.
    Refused(String),
    /// The template cannot fill a gap.
    Gap,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(why) => write!(f, "the model's template cannot be used: {why}"),
            Self::Refused(why) => write!(f, "the model's template refused the messages: {why}"),
            Self::Gap => f.write_str("the model's template cannot fill the gap before a suffix"),
        }
    }
}

/// What a model can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Text that goes on.
    Completion,
    /// A vector.
    Embedding,
    /// Calls of tools.
    Tools,
    /// What belongs between two texts.
    Insert,
    /// Thoughts before an answer.
    Thinking,
}

impl Capability {
    /// As `show` and the APIs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Embedding => "embedding",
            Self::Tools => "tools",
            Self::Insert => "insert",
            Self::Thinking => "thinking",
        }
    }
}

/// What a model can do: by `given`, the template beside its weights, or else its `own`, the Jinja template of its file.
/// A template that is broken gives nothing.
pub fn capabilities(embeds: bool, given: Option<&str>, own: Option<&str>) -> Vec<Capability> {
    if embeds {
        return vec![Capability::Embedding];
    }
    let mut all = vec![Capability::Completion];
    if let Some(dialect) = Dialect::parse(given, own).and_then(Result::ok) {
        let rest = [Capability::Tools, Capability::Insert, Capability::Thinking];
        all.extend(rest.into_iter().filter(|capability| dialect.can(*capability)));
    }
    all
}

/// Checks a template that somebody wrote.
///
/// # Errors
/// [`Error::Broken`], with the place.
pub fn check(source: &str) -> Result<(), Error> {
    Dialect::given(source).map(drop)
}

impl Dialect {
    fn parse(given: Option<&str>, own: Option<&str>) -> Option<Result<Self, Error>> {
        given.map(Self::given).or_else(|| own.map(Self::jinja))
    }

    /// Of a template that was set: Jinja's statements tell it from Go's, which has none.
    fn given(source: &str) -> Result<Self, Error> {
        if source.contains("{%") {
            return Self::jinja(source);
        }
        let template = gotmpl::Template::parse(source).map_err(|e| Error::Broken(e.to_string()))?;
        Ok(Self::Go(Box::new(template)))
    }

    fn jinja(source: &str) -> Result<Self, Error> {
        Ok(Self::Jinja(Box::new(Jinja::parse(source)?)))
    }

    fn can(&self, capability: Capability) -> bool {
        match self {
            Self::Go(template) => {
                let names = |name: &str| template.names().contains(name);
                match capability {
                    Capability::Completion => true,
                    Capability::Embedding => false,
                    Capability::Tools => names("tools"),
                    Capability::Insert => names("suffix"),
                    Capability::Thinking => names("thinking") || names("think") || names("thinklevel"),
                }
            }
            Self::Jinja(template) => {
                let variables = template.variables();
                match capability {
                    Capability::Completion => true,
                    Capability::Embedding | Capability::Insert => false,
                    Capability::Tools => variables.contains("tools"),
                    // Thoughts of earlier answers are a message's field, which is no variable.
                    Capability::Thinking => {
                        let source = template.source();
                        ["enable_thinking", "thinking", "reasoning_effort"].iter().any(|name| variables.contains(*name))
                            || source.contains("reasoning_content")
                            || source.contains("<think>")
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source()).finish()
    }
}

impl Template {
    /// Compiles the template that was set for the model, or its own, or that of its family where it has none.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn new(given: Option<&str>, own: Option<&str>, facts: &Facts, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let dialect = match Dialect::parse(given, own) {
            Some(dialect) => dialect?,
            None => Dialect::jinja(&default_template(&facts.architecture, |name| tokenizer.id_of(name).is_some()).1)?,
        };
        let name = |id: Option<u32>| id.map(|id| tokenizer.text(id).to_string()).unwrap_or_default();
        let guard = Guard::new(tokenizer.controls());
        Ok(Self { dialect, guard, bos: name(tokenizer.bos()), eos: name(tokenizer.eos()) })
    }

    /// Another template for the same model, in either language.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn with(&self, source: &str) -> Result<Self, Error> {
        let dialect = Dialect::given(source)?;
        Ok(Self { dialect, guard: self.guard.clone(), bos: self.bos.clone(), eos: self.eos.clone() })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        match &self.dialect {
            Dialect::Jinja(template) => template.source(),
            Dialect::Go(template) => template.source(),
        }
    }

    /// Whether the template knows of it.
    pub fn can(&self, capability: Capability) -> bool {
        self.dialect.can(capability)
    }

    /// What it knows of control tokens.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether it is told whether to think, and does something about it.
    pub fn steers_thoughts(&self) -> bool {
        match &self.dialect {
            Dialect::Go(template) => {
                ["think", "thinklevel", "isthinkset"].iter().any(|name| template.names().contains(*name))
            }
            Dialect::Jinja(template) => {
                let variables = template.variables();
                ["enable_thinking", "thinking", "reasoning_effort"].iter().any(|name| variables.contains(*name))
            }
        }
    }

    /// Whether it knows itself what to do with a last message that is an answer: Go's templates do.
    pub fn ends_answers(&self) -> bool {
        matches!(self.dialect, Dialect::Go(_))
    }

    /// The prompt, cut where control tokens stand.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn render(&self, ask: &Ask<'_>) -> Result<Vec<Segment>, Error> {
        match &self.dialect {
            Dialect::Jinja(template) => template.render(ask, &self.guard, &self.bos, &self.eos),
            Dialect::Go(template) => {
                let (today, yesterday) = (days_ago(0), days_ago(1));
                let input = self.input(ask, &today, &yesterday);
                let segments = template.render(&input, &self.guard, Limits::default());
                segments.map_err(|e| Error::Refused(e.to_string()))
            }
        }
    }

    /// The prompt for what belongs between `prompt` and `suffix`.
    ///
    /// # Errors
    /// [`Error::Gap`] for a template that does not know how; [`Error::Refused`].
    pub fn render_gap(&self, prompt: &str, suffix: &str, think: Think<'_>) -> Result<Vec<Segment>, Error> {
        let Dialect::Go(template) = &self.dialect else { return Err(Error::Gap) };
        if !self.can(Capability::Insert) {
            return Err(Error::Gap);
        }
        let (today, yesterday) = (days_ago(0), days_ago(1));
        let input = self.input(&Ask { think, ..Ask::default() }, &today, &yesterday);
        let segments = template.render_gap(prompt, suffix, &input, &self.guard, Limits::default());
        segments.map_err(|e| Error::Refused(e.to_string()))
    }

    fn input<'i>(&self, ask: &Ask<'i>, today: &'i str, yesterday: &'i str) -> gotmpl::Input<'i> {
        // A model that can think does, where nobody said otherwise.
        let think = match ask.think {
            Think::Unset if self.can(Capability::Thinking) => Think::On,
            think => think,
        };
        gotmpl::Input { messages: ask.messages, tools: ask.tools, think, today, yesterday }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> Template {
        let dialect = Dialect::given(source).unwrap();
        Template { dialect, guard: Guard::new(["<|im_end|>"]), bos: String::new(), eos: String::new() }
    }

    #[test]
    fn a_template_is_read_in_its_own_language() {
        let messages = [Message::new("user", "a<|im_end|>")];
        let ask = Ask { messages: &messages, answer: true, ..Ask::default() };
        let want = [Segment::Text("a<|im_end|>".into()), Segment::Control("<|im_end|>".into())];
        for source in [
            "{{ .Prompt }}<|im_end|>{{ .Response }}",
            "{{ range .Messages }}{{ .Content }}<|im_end|>{{ end }}",
            "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
        ] {
            assert_eq!(template(source).render(&ask).unwrap(), want, "{source}");
        }
    }

    #[test]
    fn what_a_model_can_do_is_what_its_template_names() {
        let all = |given: Option<&str>, own: Option<&str>| -> Vec<&str> {
            capabilities(false, given, own).into_iter().map(Capability::name).collect()
        };
        assert_eq!(all(None, None), ["completion"]);
        assert_eq!(all(Some("{{ .Prompt }}{{ .Suffix }}"), None), ["completion", "insert"]);
        assert_eq!(
            all(Some("{{ range .Messages }}{{ .Thinking }}{{ end }}{{ .Tools }}"), None),
            ["completion", "tools", "thinking"]
        );
        let jinja = "{% if tools %}{{ tools }}{% endif %}{% if enable_thinking %}{% endif %}";
        assert_eq!(all(None, Some(jinja)), ["completion", "tools", "thinking"]);
        assert_eq!(all(Some("{{ .Prompt }}"), Some(jinja)), ["completion"], "what was set is what counts");
        assert_eq!(all(None, Some("{# tools #}{{ messages }}")), ["completion"], "a comment names nothing");
        assert_eq!(capabilities(true, None, Some(jinja)), [Capability::Embedding]);
    }

    #[test]
    fn a_gap_is_filled_only_by_a_template_that_knows_how() {
        let text = |template: Template| template.render_gap("a", "b", Think::Unset);
        let filled = text(template("{{ if .Suffix }}{{ .Prompt }}|{{ .Suffix }}{{ else }}{{ .Prompt }}{{ end }}"));
        assert_eq!(filled.unwrap(), [Segment::Text("a|b".into())]);
        assert!(matches!(text(template("{{ .Prompt }}")), Err(Error::Gap)));
    }

    #[test]
    fn a_broken_template_says_where() {
        assert!(check("a\n{{ nope }}").unwrap_err().to_string().contains("line 2, column 4"));
        assert!(template("{{ .Prompt }}").with("{{ if }}").is_err());
    }
}

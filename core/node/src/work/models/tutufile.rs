//! TuTufile: how a model is made from another one. A Modelfile of Ollama is one.
//!
//! ```text
//! file     = line*                      UTF-8, or UTF-16 with its mark
//! line     = blank | "#" text | COMMAND value
//! COMMAND  = FROM | PARAMETER name | TEMPLATE | SYSTEM | ADAPTER | LICENSE | MESSAGE role
//!          | DRAFT | RENDERER | PARSER | REQUIRES              in any case
//! value    = text to the end of the line, without the blanks around it
//!          | '"'   text '"'             over lines; ends with the first quote that ends a line
//!          | '"""' text '"""'           the same
//! ```
//!
//! Nothing is escaped. Inside quotes everything counts, line ends and blanks too; `\r\n` and a single `\r` are one line end.
//! `FROM` may come several times (a model and its projector), and must come; of what can be set once the last counts.
//!
//! Left out of the predecessor's format, because it loses text: blocks whose first line does not count, and blocks
//! that nobody closed.

use alloc::{
    borrow::Cow,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use super::option::{self, Kind, Value};
use crate::kit::near;

/// Bytes of a file at most.
pub const BYTES_MAX: usize = 16 << 20;

/// A file's commands, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TuTufile {
    /// Comments are not among them.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// What to begin with: a model's name, a file, a folder.
    From(String),
    /// An option of [`option::ALL`].
    #[allow(missing_docs, reason = "explained by the variant")]
    Parameter { name: &'static str, value: Value },
    /// How a conversation becomes a prompt.
    Template(String),
    /// What the model is told first.
    System(String),
    /// A LoRA adapter's file.
    Adapter(String),
    /// What may be done with it.
    License(String),
    /// Something that was said already.
    #[allow(missing_docs, reason = "explained by the variant")]
    Message { role: Role, text: String },
    /// A small model that guesses ahead.
    Draft(String),
    /// A built-in that writes prompts.
    Renderer(String),
    /// A built-in that reads answers.
    Parser(String),
    /// The least version of the program, `1.2.3`.
    Requires(String),
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever set the model up.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which line.
    pub line: usize,
    /// Which character of it.
    pub column: usize,
}

/// Why something is no TuTufile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are explained by their variant")]
pub enum Error {
    /// It is larger than [`BYTES_MAX`].
    Long { bytes: usize },
    /// It is neither UTF-8 nor UTF-16 with a mark.
    Text,
    /// No line says what to begin with.
    NoFrom,
    /// A line begins with something else than a command.
    Command { at: Position, word: String, near: Option<&'static str> },
    /// A command has nothing after it.
    Empty { at: Position, command: &'static str },
    /// A quote that nobody closed; where it opened.
    Open { at: Position },
    /// A parameter that cannot be set so.
    Parameter { at: Position, error: option::Error },
    /// Nobody that can say something.
    Role { at: Position, role: String },
    /// A version that is none.
    Version { at: Position, text: String },
    /// A text that no quotes can hold: it has a carriage return, or one of its lines ends with three quotes.
    Unprintable { command: &'static str },
}

/// Reads the bytes of a file as text: UTF-8, or UTF-16 where a byte order mark says so.
///
/// # Errors
/// [`Error::Long`] and [`Error::Text`].
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    if bytes.len() > BYTES_MAX {
        return Err(Error::Long { bytes: bytes.len() });
    }
    let wide = |of: fn([u8; 2]) -> u16| {
        let (pairs, odd) = bytes[2..].as_chunks::<2>();
        if !odd.is_empty() {
            return Err(Error::Text);
        }
        let text: Result<String, _> = char::decode_utf16(pairs.iter().map(|pair| of(*pair))).collect();
        text.map(Cow::Owned).map_err(|_| Error::Text)
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => core::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Error::Text),
    }
}

impl TuTufile {
    /// Reads a file.
    ///
    /// # Errors
    /// The first that is wrong in it, or [`Error::NoFrom`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > BYTES_MAX {
            return Err(Error::Long { bytes: text.len() });
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
        let mut reader = Reader { rest: &text, line: 1 };
        let mut commands = Vec::new();
        while let Some(command) = reader.command()? {
            commands.push(command);
        }
        let file = Self { commands };
        if file.from().next().is_none() { Err(Error::NoFrom) } else { Ok(file) }
    }

    /// Writes a file that [`Self::parse`] reads as this one.
    ///
    /// # Errors
    /// [`Error::Unprintable`], which no file that was read can give.
    pub fn print(&self) -> Result<String, Error> {
        let mut out = String::new();
        for command in &self.commands {
            let (head, text) = command.parts();
            let text = written(&text).ok_or(Error::Unprintable { command: command.word() })?;
            out.push_str(&format!("{head} {text}\n"));
        }
        Ok(out)
    }

    /// What to begin with; never nothing in a file that was read.
    pub fn from(&self) -> impl Iterator<Item = &str> {
        self.commands.iter().filter_map(|command| match command {
            Command::From(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The last template.
    pub fn template(&self) -> Option<&str> {
        self.last(|command| match command {
            Command::Template(text) => Some(text),
            _ => None,
        })
    }

    /// The last system text.
    pub fn system(&self) -> Option<&str> {
        self.last(|command| match command {
            Command::System(text) => Some(text),
            _ => None,
        })
    }

    /// Adapters, in their order.
    pub fn adapters(&self) -> impl Iterator<Item = &str> {
        self.commands.iter().filter_map(|command| match command {
            Command::Adapter(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Licences, in their order.
    pub fn licences(&self) -> impl Iterator<Item = &str> {
        self.commands.iter().filter_map(|command| match command {
            Command::License(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// What was said already, in its order.
    pub fn messages(&self) -> impl Iterator<Item = (Role, &str)> {
        self.commands.iter().filter_map(|command| match command {
            Command::Message { role, text } => Some((*role, text.as_str())),
            _ => None,
        })
    }

    /// What is set; several values only where several make sense.
    pub fn parameters(&self) -> BTreeMap<&'static str, Vec<&Value>> {
        let mut all: BTreeMap<&'static str, Vec<&Value>> = BTreeMap::new();
        for command in &self.commands {
            if let Command::Parameter { name, value } = command {
                let values = all.entry(name).or_default();
                if option::find(name).is_ok_and(|known| known.kind != Kind::Texts) {
                    values.clear();
                }
                values.push(value);
            }
        }
        all
    }

    fn last<'a>(&'a self, text: impl FnMut(&'a Command) -> Option<&'a String>) -> Option<&'a str> {
        self.commands.iter().rev().find_map(text).map(String::as_str)
    }
}

const WORDS: [&str; 11] = [
    "FROM",
    "PARAMETER",
    "TEMPLATE",
    "SYSTEM",
    "ADAPTER",
    "LICENSE",
    "MESSAGE",
    "DRAFT",
    "RENDERER",
    "PARSER",
    "REQUIRES",
];

impl Command {
    fn word(&self) -> &'static str {
        match self {
            Self::From(_) => "FROM",
            Self::Parameter { .. } => "PARAMETER",
            Self::Template(_) => "TEMPLATE",
            Self::System(_) => "SYSTEM",
            Self::Adapter(_) => "ADAPTER",
            Self::License(_) => "LICENSE",
            Self::Message { .. } => "MESSAGE",
            Self::Draft(_) => "DRAFT",
            Self::Renderer(_) => "RENDERER",
            Self::Parser(_) => "PARSER",
            Self::Requires(_) => "REQUIRES",
        }
    }

    /// What stands before the value, and the value.
    fn parts(&self) -> (String, Cow<'_, str>) {
        let word = self.word();
        match self {
            Self::From(text)
            | Self::Template(text)
            | Self::System(text)
            | Self::Adapter(text)
            | Self::License(text)
            | Self::Draft(text)
            | Self::Renderer(text)
            | Self::Parser(text)
            | Self::Requires(text) => (word.into(), Cow::Borrowed(text)),
            Self::Parameter { name, value } => (format!("{word} {name}"), Cow::Owned(value.to_string())),
            Self::Message { role, text } => (format!("{word} {}", role.name()), Cow::Borrowed(text)),
        }
    }
}

impl Role {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    fn find(name: &str) -> Option<Self> {
        [Self::System, Self::User, Self::Assistant].into_iter().find(|role| role.name().eq_ignore_ascii_case(name))
    }
}

/// A text as a value: bare where that keeps it, else in three quotes.
fn written(text: &str) -> Option<Cow<'_, str>> {
    let bare = !text.is_empty() && text.trim() == text && !text.starts_with('"') && !text.contains('\n');
    if bare {
        return Some(Cow::Borrowed(text));
    }
    let block = format!("\"\"\"{text}\"\"\"");
    let kept = closes(&block, "\"\"\"") == Some(block.len()) && !text.contains('\r');
    kept.then_some(Cow::Owned(block))
}

/// Where a quoted value ends that begins with `quote` at the start of `text`: behind the first quote that ends a line.
fn closes(text: &str, quote: &str) -> Option<usize> {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        let so_far = text[..end].trim_end();
        if so_far.len() >= 2 * quote.len() && so_far.ends_with(quote) && so_far.len() + line.len() > end {
            return Some(so_far.len());
        }
    }
    None
}

struct Reader<'a> {
    /// From the beginning of a line.
    rest: &'a str,
    /// Its number.
    line: usize,
}

impl<'a> Reader<'a> {
    /// The next command; `None` at the end.
    fn command(&mut self) -> Result<Option<Command>, Error> {
        loop {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let line = self.rest.split('\n').next().unwrap_or_default();
            let text = line.trim();
            if !text.is_empty() && !text.starts_with('#') {
                return self.read(line).map(Some);
            }
            self.skip(line.len());
        }
    }

    /// Reads the command that begins on `line`, the first of the rest.
    fn read(&mut self, line: &'a str) -> Result<Command, Error> {
        let indent = line.len() - line.trim_start().len();
        let at = self.at(line, indent);
        let (word, mut next) = first_word(line, indent);
        let Some(word) = WORDS.into_iter().find(|known| known.eq_ignore_ascii_case(word)) else {
            let near = near::nearest(&word.to_ascii_uppercase(), WORDS);
            return Err(Error::Command { at, word: word.chars().take(40).collect(), near });
        };
        // The word between the command and the value.
        let mut name = "";
        let name_at = self.at(line, next);
        if matches!(word, "PARAMETER" | "MESSAGE") {
            (name, next) = first_word(line, next);
        }
        let at_value = self.at(line, next);
        let text = self.value(next, Error::Empty { at, command: word })?;
        Ok(match word {
            "PARAMETER" => {
                let known = option::find(name).map_err(|error| Error::Parameter { at: name_at, error })?;
                let value = known.read(&text).map_err(|error| Error::Parameter { at: at_value, error })?;
                Command::Parameter { name: known.name, value }
            }
            "MESSAGE" => {
                let unknown = || Error::Role { at: name_at, role: name.chars().take(40).collect() };
                Command::Message { role: Role::find(name).ok_or_else(unknown)?, text }
            }
            "REQUIRES" if !is_version(&text) => return Err(Error::Version { at: at_value, text }),
            "FROM" => Command::From(text),
            "TEMPLATE" => Command::Template(text),
            "SYSTEM" => Command::System(text),
            "ADAPTER" => Command::Adapter(text),
            "LICENSE" => Command::License(text),
            "DRAFT" => Command::Draft(text),
            "RENDERER" => Command::Renderer(text),
            "PARSER" => Command::Parser(text),
            _ => Command::Requires(text),
        })
    }

    /// The value that begins at `start`, and with it the rest of its last line; `empty` if there is none.
    fn value(&mut self, start: usize, empty: Error) -> Result<String, Error> {
        let text = &self.rest[start..];
        let quote = ["\"\"\"", "\""].into_iter().find(|quote| text.starts_with(quote));
        let Some(quote) = quote else {
            let bare = text.split('\n').next().unwrap_or_default();
            if bare.trim().is_empty() {
                return Err(empty);
            }
            self.skip(start + bare.len());
            return Ok(bare.trim().into());
        };
        let Some(end) = closes(text, quote) else {
            let line = self.rest.split('\n').next().unwrap_or_default();
            return Err(Error::Open { at: self.at(line, start) });
        };
        let value = text[quote.len()..end - quote.len()].into();
        let tail = text[end..].split('\n').next().unwrap_or_default();
        self.skip(start + end + tail.len());
        Ok(value)
    }

    /// Goes behind the line end that stands at `bytes`, or to the end.
    fn skip(&mut self, bytes: usize) {
        self.line += self.rest[..bytes].matches('\n').count() + 1;
        self.rest = self.rest.get(bytes + 1..).unwrap_or_default();
    }

    fn at(&self, line: &str, byte: usize) -> Position {
        Position { line: self.line, column: line[..byte].chars().count() + 1 }
    }
}

/// The word at `start`, and where the next thing begins.
fn first_word(line: &str, start: usize) -> (&str, usize) {
    let text = &line[start..];
    let word = text.split(char::is_whitespace).next().unwrap_or_default();
    let after = &text[word.len()..];
    (word, start + word.len() + (after.len() - after.trim_start().len()))
}

/// `1.2.3`, perhaps with a `v` before it and something after `-` or `+`. Semantic Versioning 2.0.0 §2, §9, §10.
fn is_version(text: &str) -> bool {
    let core = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
    let number = |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
    core.split('.').count() == 3 && core.split('.').all(number) && !text.contains(char::is_whitespace)
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long { bytes } => write!(f, "it has {bytes} bytes, and may have {BYTES_MAX}"),
            Self::Text => f.write_str("it is not text in UTF-8 or UTF-16"),
            Self::NoFrom => f.write_str("no FROM line says which model to begin with"),
            Self::Command { at, word, near: Some(near) } => write!(f, "{at}: {word:?} is no command; {near} is near"),
            Self::Command { at, word, near: None } => {
                write!(f, "{at}: {word:?} is no command; there are {}", WORDS.join(", "))
            }
            Self::Empty { at, command } => write!(f, "{at}: {command} has no value"),
            Self::Open { at } => write!(f, "{at}: the quote that opens here is not closed at the end of any line"),
            Self::Parameter { at, error } => write!(f, "{at}: {error}"),
            Self::Role { at, role } => write!(f, "{at}: {role:?} is not system, user or assistant"),
            Self::Version { at, text } => write!(f, "{at}: {text:?} is no version such as 1.2.3"),
            Self::Unprintable { command } => {
                write!(f, "the text of {command} has a carriage return or a line that ends with three quotes")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::kit::Rng;

    fn refusal(text: &str) -> String {
        TuTufile::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_modelfile_is_read_as_it_is() {
        let text = "# a comment\n\
            FROM llama3.2\r\n\
            from\t./projector.gguf\n\
            \n  parameter temperature 0.70\n\
            PARAMETER stop \"<|im_end|>\"\n\
            PARAMETER stop User:\n\
            PARAMETER num_ctx 4096\n\
            PARAMETER num_ctx 8192\n\
            TEMPLATE \"\"\"{{ .System }}\n{{ .Prompt }}\"\"\"  \n\
            SYSTEM You are \"Mario\".\n\
            LICENSE \"\"\"\n  MIT\n\"\"\"\n\
            MESSAGE user Hi # there\n\
            MESSAGE Assistant \"\"\"Hello.\"\"\"\n\
            REQUIRES 0.14.0\n\
            ADAPTER ./lora.gguf";
        let file = TuTufile::parse(text).unwrap();
        assert_eq!(file.from().collect::<Vec<_>>(), ["llama3.2", "./projector.gguf"]);
        assert_eq!(file.template(), Some("{{ .System }}\n{{ .Prompt }}"));
        assert_eq!(file.system(), Some("You are \"Mario\"."));
        assert_eq!(file.licences().collect::<Vec<_>>(), ["\n  MIT\n"]);
        assert_eq!(file.messages().collect::<Vec<_>>(), [(Role::User, "Hi # there"), (Role::Assistant, "Hello.")]);
        assert_eq!(file.adapters().collect::<Vec<_>>(), ["./lora.gguf"]);
        let parameters = file.parameters();
        assert_eq!(parameters["num_ctx"], [&Value::Integer(8192)]);
        assert_eq!(parameters["stop"], [&Value::Text("<|im_end|>".into()), &Value::Text("User:".into())]);
        assert_eq!(parameters["temperature"][0].to_string(), "0.7");
        assert_eq!(
            file.print().unwrap().lines().take(4).collect::<Vec<_>>(),
            ["FROM llama3.2", "FROM ./projector.gguf", "PARAMETER temperature 0.7", "PARAMETER stop <|im_end|>"]
        );
    }

    #[test]
    fn quotes_end_with_the_first_that_ends_a_line() {
        for (value, text) in [
            ("\"a\"", "a"),
            ("\"\"", ""),
            ("\"\"\"\"\"\"", ""),
            ("\"say \"x\" now\"", "say \"x\" now"),
            ("\"a\nb\"", "a\nb"),
            ("\"\"\" a \"\"\" \t", " a "),
            ("\"\"\"one\"\"\" two\nthree\"\"\"", "one\"\"\" two\nthree"),
            ("\"\"\"a\"\"\"\"", "a\""),
            ("a \"b\"", "a \"b\""),
        ] {
            let file = TuTufile::parse(&format!("FROM x\nSYSTEM {value}\nREQUIRES 1.2.3")).unwrap();
            assert_eq!(file.system(), Some(text), "{value}");
            assert_eq!(file.commands.len(), 3, "{value}");
        }
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(refusal("SYSTEM x"), "no FROM line says which model to begin with");
        assert_eq!(refusal("FROM x\n  FORM y"), "line 2, column 3: \"FORM\" is no command; FROM is near");
        assert!(refusal("FROM x\nhello").starts_with("line 2, column 1: \"hello\" is no command; there are FROM, P"));
        assert_eq!(refusal("FROM x\n\nSYSTEM   \n"), "line 3, column 1: SYSTEM has no value");
        assert_eq!(refusal("FROM x\nPARAMETER stop"), "line 2, column 1: PARAMETER has no value");
        assert_eq!(
            refusal("FROM x\nSYSTEM \"\"\"a\n\nb\n"),
            "line 2, column 8: the quote that opens here is not closed at the end of any line"
        );
        assert_eq!(
            refusal("LICENSE \"\"\"\n\n\"\"\"\nFROM é\nPARAMETER é 1"),
            "line 5, column 11: there is no parameter \"é\""
        );
        assert_eq!(
            refusal("FROM x\nPARAMETER top_k  many"),
            "line 2, column 18: top_k is a whole number of at least 0, and not \"many\""
        );
        assert_eq!(refusal("FROM x\nMESSAGE bob hi"), "line 2, column 9: \"bob\" is not system, user or assistant");
        assert_eq!(refusal("FROM x\nREQUIRES 1.2"), "line 2, column 10: \"1.2\" is no version such as 1.2.3");
    }

    #[test]
    fn marks_of_utf_8_and_utf_16_are_understood() {
        let text = "FROM é";
        let wide: Vec<u16> = core::iter::once(0xfeff).chain(text.encode_utf16()).collect();
        let little: Vec<u8> = wide.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = wide.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let marked = ["\u{feff}", text].concat().into_bytes();
        for bytes in [&little, &big, &marked, &text.as_bytes().to_vec()] {
            assert_eq!(TuTufile::parse(&decode(bytes).unwrap()).unwrap().from().next(), Some("é"));
        }
        for bytes in [&[0xff, 0xfe, 0x41][..], &[0xff, 0xfe, 0x00, 0xd8], &[0x80]] {
            assert_eq!(decode(bytes), Err(Error::Text));
        }
    }

    #[test]
    fn what_no_file_can_hold_is_not_printed_wrongly() {
        let file = TuTufile { commands: vec![Command::System("a\"\"\"\nb".into())] };
        assert_eq!(file.print(), Err(Error::Unprintable { command: "SYSTEM" }));
    }

    /// What is read from what was printed is what was printed.
    fn check(text: &str) {
        if let Ok(file) = TuTufile::parse(text) {
            let printed = file.print().unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(TuTufile::parse(&printed).as_ref(), Ok(&file), "{text:?} -> {printed:?}");
        }
    }

    #[test]
    fn every_small_value_is_printed_as_it_is_read() {
        const LETTERS: [&str; 5] = ["\"", "\n", " ", "a", "\r"];
        for length in 0..=8u32 {
            for case in 0..5usize.pow(length) {
                let value: String = (0..length).map(|place| LETTERS[case / 5usize.pow(place) % 5]).collect();
                check(&format!("FROM x\nSYSTEM {value}"));
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic_and_every_file_is_printed_as_it_is_read() {
        const PIECES: [&str; 24] = [
            "FROM ",
            "from\t",
            "PARAMETER ",
            "stop ",
            "temperature ",
            "0.7",
            "SYSTEM ",
            "TEMPLATE ",
            "MESSAGE ",
            "user ",
            "LICENSE ",
            "\"",
            "\"\"\"",
            "\n",
            "\r\n",
            "\r",
            "#",
            " ",
            "\u{feff}",
            "é",
            "\u{2028}",
            "x",
            "-1",
            "REQUIRES 1.2.3",
        ];
        let mut rng = Rng::new(7);
        for _ in 0..100_000 {
            let count = rng.below(16);
            let text: String = (0..count).map(|_| PIECES[rng.below(24) as usize]).collect();
            check(&text);
            check(&format!("FROM x\n{text}"));
        }
    }
}

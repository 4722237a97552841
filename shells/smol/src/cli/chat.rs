//! A conversation at the terminal.

use rustyline::{DefaultEditor, error::ReadlineError};
use serde_json::Value;
use tutu_llm::chat::Message;

use super::{
    Error,
    answer::watch_interrupts,
    args, format,
    mind::Mind,
    run::{self, Settings},
};
use crate::talk::{Form, Think};

const HELP: &str = "\
Available Commands:
  /set parameter NAME VALUE   set an option, for example temperature 0.5
  /set system TEXT            set the system text
  /set template TEXT          set the template
  /set format json            answer with JSON, or within a schema or a grammar
  /set noformat               answer freely
  /set think [LEVEL] | nothink  let the model think first, or not
  /set verbose | quiet        print speeds, or not
  /set wordwrap | nowordwrap  break lines at words, or not
  /set history | nohistory    keep what you type, or not
  /show info | license | modelfile | parameters | system | template
  /list                       list the models that are here
  /save NAME                  keep model, settings and conversation as a model of that name
  /save FILE.json             write the conversation to a file
  /load NAME                  go on with that model, and with what was saved in it
  /load FILE.json             go on with a conversation from a file
  /clear                      forget the conversation
  /bye                        leave
  /?                          this text

Use \"\"\" to begin and to end a message of several lines.
Ctrl-C stops an answer, Ctrl-D leaves.
";

/// What a line asks for.
enum Next {
    Listen,
    Leave,
}

struct Talk {
    mind: Mind,
    settings: Settings,
    messages: Vec<Message>,
    history: bool,
}

/// Talks until the person leaves.
pub fn talk(mind: Mind, settings: Settings) -> Result<(), Error> {
    let mut editor = DefaultEditor::new().map_err(Error::failed)?;
    // After the editor, which takes the signal for itself when it is made.
    watch_interrupts();
    let file = args::home()?.join("history");
    let no_history = std::env::var_os("OLLAMA_NOHISTORY").is_some_and(|value| !value.is_empty() && value != "0");
    let messages = mind.stored().to_vec();
    let mut talk = Talk { mind, settings, messages, history: !no_history };
    if talk.history {
        // A first conversation has none yet.
        let _ = editor.load_history(&file);
    }
    while let Some(text) = read(&mut editor)? {
        if talk.history && !text.trim().is_empty() {
            let _ = editor.add_history_entry(text.as_str());
        }
        let next = match text.trim() {
            "" => Ok(Next::Listen),
            command if command.starts_with('/') => talk.command(command),
            _ => talk.say(&text),
        };
        match next {
            Ok(Next::Listen) => {}
            Ok(Next::Leave) => break,
            Err(error) => eprintln!("error: {error}"),
        }
    }
    if talk.history {
        let _ = std::fs::create_dir_all(args::home()?);
        let _ = editor.save_history(&file);
    }
    Ok(())
}

/// One message: a line, or all between two `\"\"\"`. `None` when the person leaves.
fn read(editor: &mut DefaultEditor) -> Result<Option<String>, Error> {
    let mut text: Option<String> = None;
    loop {
        let line = match editor.readline(if text.is_some() { "... " } else { ">>> " }) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                if text.take().is_none() {
                    eprintln!("Use Ctrl-D or /bye to leave.");
                }
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(Error::failed(error)),
        };
        match text.take() {
            None => match line.trim_start().strip_prefix("\"\"\"") {
                None => return Ok(Some(line)),
                Some(rest) => match rest.strip_suffix("\"\"\"") {
                    Some(whole) => return Ok(Some(whole.into())),
                    None => text = Some(if rest.is_empty() { String::new() } else { format!("{rest}\n") }),
                },
            },
            Some(mut all) => match line.trim_end().strip_suffix("\"\"\"") {
                Some(rest) => {
                    all.push_str(rest);
                    return Ok(Some(all));
                }
                None => text = Some(all + &line + "\n"),
            },
        }
    }
}

impl Talk {
    fn say(&mut self, text: &str) -> Result<Next, Error> {
        let has_system = self.messages.first().is_some_and(|message| message.role == "system");
        if let (false, Some(system)) = (has_system, &self.settings.system) {
            self.messages.insert(0, Message::new("system", system));
        }
        let before = self.messages.len();
        self.messages.push(Message::new("user", text));
        if let Err(error) = self.mind.answer(&self.settings, &mut self.messages) {
            self.messages.truncate(before);
            return Err(error);
        }
        println!();
        Ok(Next::Listen)
    }

    fn command(&mut self, line: &str) -> Result<Next, Error> {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match command {
            "/bye" | "/exit" | "/quit" => return Ok(Next::Leave),
            "/?" | "/help" => print!("{HELP}"),
            "/clear" => {
                self.messages.clear();
                eprintln!("Cleared the conversation.");
            }
            "/set" => self.set(rest)?,
            "/show" => self.show(rest)?,
            "/save" => self.save(rest)?,
            "/load" => self.load(rest)?,
            "/list" | "/ls" => self.mind.list()?,
            _ => return Err(Error::failed(format!("there is no {command}; type /? for help"))),
        }
        Ok(Next::Listen)
    }

    fn set(&mut self, rest: &str) -> Result<(), Error> {
        let (what, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let value = value.trim();
        match what {
            "parameter" => {
                let (key, value) = value
                    .split_once(char::is_whitespace)
                    .ok_or_else(|| Error::failed("say /set parameter NAME VALUE"))?;
                self.mind.can_set(key)?;
                let parsed = serde_json::from_str(value.trim()).unwrap_or_else(|_| Value::String(value.trim().into()));
                self.settings.set(key, &parsed).map_err(Error::failed)?;
                eprintln!("Set parameter '{key}' to '{}'", value.trim());
            }
            "system" => {
                self.settings.system = Some(value.trim_matches('"').into());
                self.messages.retain(|message| message.role != "system");
                eprintln!("Set system message.");
            }
            "template" => {
                self.mind.set_template(value)?;
                eprintln!("Set prompt template.");
            }
            "format" => self.settings.form = format::form(value)?,
            "noformat" => self.settings.form = Form::Free,
            "think" if value.is_empty() => self.settings.think = Think::On,
            "think" => self.settings.think = run::level(value)?,
            "nothink" => self.settings.think = Think::Off,
            "verbose" => self.settings.verbose = true,
            "quiet" => self.settings.verbose = false,
            "wordwrap" => self.settings.unwrapped = false,
            "nowordwrap" => self.settings.unwrapped = true,
            "history" => self.history = true,
            "nohistory" => self.history = false,
            _ => return Err(Error::failed(format!("/set knows no {what:?}; type /? for help"))),
        }
        Ok(())
    }

    fn show(&self, what: &str) -> Result<(), Error> {
        match what {
            "system" => println!("{}", self.settings.system.as_deref().unwrap_or("No system message was set.")),
            "parameters" => {
                let s = &self.settings.options.sampling;
                println!("  temperature         {}", s.temperature);
                println!("  top_k               {}", s.top_k);
                println!("  top_p               {}", s.top_p);
                println!("  min_p               {}", s.min_p);
                println!("  repeat_penalty      {}", s.repeat_penalty);
                self.settings.options.stop.iter().for_each(|stop| println!("  stop                {stop:?}"));
            }
            other => self.mind.show(other, &self.settings)?,
        }
        Ok(())
    }

    fn save(&self, to: &str) -> Result<(), Error> {
        if to.is_empty() {
            return Err(Error::failed("say /save NAME or /save FILE.json"));
        }
        if is_conversation(to) {
            let text = serde_json::to_string_pretty(&self.messages).map_err(Error::failed)?;
            std::fs::write(to, text).map_err(|e| Error::failed(format!("{to} cannot be written: {e}")))?;
            eprintln!("Saved the conversation to {to}.");
            return Ok(());
        }
        self.mind.save(to, &self.settings, &self.messages)?;
        eprintln!("Created new model '{to}'");
        Ok(())
    }

    fn load(&mut self, what: &str) -> Result<(), Error> {
        if what.is_empty() {
            return Err(Error::failed("say /load NAME or /load FILE.json"));
        }
        if is_conversation(what) {
            let text =
                std::fs::read_to_string(what).map_err(|e| Error::failed(format!("{what} cannot be read: {e}")))?;
            self.messages = serde_json::from_str(&text)
                .map_err(|e| Error::failed(format!("{what} is no conversation that was saved: {e}")))?;
            eprintln!("Loaded {} messages from {what}.", self.messages.len());
            return Ok(());
        }
        self.mind.load(what, &mut self.settings)?;
        self.messages = self.mind.stored().to_vec();
        eprintln!("Loaded {}.", self.mind.name());
        Ok(())
    }
}

/// Whether a word stands for a file with a conversation, and not for a model.
fn is_conversation(word: &str) -> bool {
    word.to_lowercase().ends_with(".json")
}

/// Breaks lines at words where standard output is a terminal.
pub struct Wrap {
    /// Columns; `None` where lines are left as they are.
    width: Option<usize>,
    column: usize,
    word: String,
}

impl Wrap {
    /// For this terminal.
    pub fn new(wanted: bool) -> Self {
        use std::io::IsTerminal;
        let terminal = wanted && std::io::stdout().is_terminal();
        let width = terminal.then(tutu_os::terminal_width).flatten().filter(|&width| width >= 20);
        Self { width, column: 0, word: String::new() }
    }

    /// The text that may be printed now; an unfinished word waits.
    pub fn feed(&mut self, text: &str) -> String {
        let Some(width) = self.width else { return text.into() };
        let mut out = String::new();
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
                // A word as long as a line is not held back.
                if self.word.chars().count() >= width {
                    out.push_str(&self.place(width));
                }
                continue;
            }
            out.push_str(&self.place(width));
            if c == '\n' {
                self.column = 0;
                out.push(c);
            } else if self.column < width {
                self.column += 1;
                out.push(c);
            }
        }
        out
    }

    /// The last word.
    pub fn finish(&mut self) -> String {
        let width = self.width.unwrap_or(usize::MAX);
        self.place(width)
    }

    fn place(&mut self, width: usize) -> String {
        let word = std::mem::take(&mut self.word);
        let len = word.chars().count();
        if self.column > 0 && self.column + len > width {
            self.column = len;
            return format!("\n{word}");
        }
        self.column += len;
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_words() {
        let mut wrap = Wrap { width: Some(10), column: 0, word: String::new() };
        let text = wrap.feed("one two th") + &wrap.feed("ree four\nfive") + &wrap.finish();
        assert_eq!(text, "one two \nthree four\nfive");
    }

    #[test]
    fn without_a_terminal_text_stays_as_it_is() {
        let mut wrap = Wrap { width: None, column: 0, word: String::new() };
        assert_eq!(wrap.feed("a b"), "a b");
        assert_eq!(wrap.finish(), "");
    }
}

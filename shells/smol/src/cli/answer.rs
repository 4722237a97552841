//! One answer at the terminal: thoughts, text, and what was left out of the prompt.

use std::{
    io::{IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use tutu_llm::chat::Message;

use super::{Error, chat::Wrap, human, run::Settings};
use crate::{
    engine::{Engine, Flow},
    talk::{self, Ask, Delta, End, Heard, Input, Think, prepare},
};

/// Set by Ctrl-C; the answer in progress ends.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C end the answer in progress.
pub fn watch_interrupts() {
    // Without a handler Ctrl-C ends the program, which is what it then should do.
    let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed));
}

/// An answer begins: what was pressed before it is forgotten.
pub fn begin() {
    INTERRUPTED.store(false, Ordering::Relaxed);
}

/// Whether Ctrl-C was pressed since the answer began.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Answers the last message, prints the answer as it comes, and adds it to the messages.
pub fn answer(engine: &mut Engine, settings: &Settings, messages: &mut Vec<Message>) -> Result<(), Error> {
    let prepared = prepare(engine.card(), &ask(settings, messages))?;
    if prepared.unused.contains(&"think") && matches!(settings.think, Think::On | Think::Level(_)) {
        return Err(Error::failed("this model does not think; ask it without --think"));
    }
    let dropped = prepared.dropped;
    match dropped.messages {
        0 if dropped.is_nothing() => {}
        0 => eprintln!(
            "note: the prompt does not fit the context; {} tokens of its middle were left out",
            dropped.tokens
        ),
        count => {
            // What is gone stays gone: the next prompt need not find out again.
            let mut gone = 0..count;
            messages.retain(|message| message.role == "system" || gone.next().is_none());
            eprintln!("note: the {count} oldest messages no longer fit the context and were left out");
        }
    }
    let mut page = Page::new(settings);
    begin();
    let end = talk::answer(engine, &prepared, &mut |heard| {
        // A reader who closed the pipe has had enough.
        let written = page.show(heard);
        if written.is_err() || interrupted() { Flow::Stop } else { Flow::Continue }
    })?;
    let (thinking, content) = page.finish();
    messages.push(Message { thinking, ..Message::new("assistant", &content) });
    if settings.verbose {
        print_verbose(&end);
    }
    Ok(())
}

fn ask(settings: &Settings, messages: &[Message]) -> Ask {
    let mut ask = Ask {
        input: Input::Chat(messages.to_vec()),
        form: settings.form.clone(),
        think: settings.think.clone(),
        ..Ask::default()
    };
    settings.options.apply(&mut ask);
    ask
}

/// What an answer looks like on standard output.
pub struct Page {
    out: std::io::StdoutLock<'static>,
    wrap: Wrap,
    /// Whether thoughts are shown, and whether they may be grey.
    shows: bool,
    grey: bool,
    /// Whether thoughts are on the page and not closed yet.
    open: bool,
    thinking: String,
    content: String,
}

impl Page {
    /// An empty one.
    pub fn new(settings: &Settings) -> Self {
        Self {
            out: std::io::stdout().lock(),
            wrap: Wrap::new(!settings.unwrapped),
            shows: !settings.hide_thinking,
            grey: std::io::stdout().is_terminal(),
            open: false,
            thinking: String::new(),
            content: String::new(),
        }
    }

    /// Shows what was heard.
    pub fn show(&mut self, heard: Heard) -> std::io::Result<()> {
        match heard {
            Heard::Delta(Delta::Thinking(text)) => {
                self.thinking += &text.text;
                if self.shows {
                    self.think(&text.text)?;
                }
            }
            Heard::Delta(Delta::Content(text)) => {
                self.close()?;
                self.content += &text.text;
                self.write(&text.text)?;
            }
            // Nobody offered a tool.
            Heard::Delta(_) | Heard::End(_) | Heard::Failed(_) => {}
        }
        Ok(())
    }

    fn think(&mut self, text: &str) -> std::io::Result<()> {
        if !self.open {
            self.open = true;
            let grey = if self.grey { "\x1b[90m" } else { "" };
            writeln!(self.out, "{grey}Thinking...")?;
        }
        self.write(text)
    }

    fn close(&mut self) -> std::io::Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        let plain = if self.grey { "\x1b[0m" } else { "" };
        let last = self.wrap.finish();
        self.wrap.feed("\n");
        write!(self.out, "{last}\n...done thinking.{plain}\n\n")
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.out.write_all(self.wrap.feed(text).as_bytes())?;
        self.out.flush()
    }

    /// The end; thoughts and text.
    pub fn finish(mut self) -> (String, String) {
        let _ = self.close();
        let _ = writeln!(self.out, "{}", self.wrap.finish());
        (self.thinking, self.content)
    }
}

/// Prints counts and speeds.
pub fn print_verbose(end: &End) {
    let rate = |count: usize, time: std::time::Duration| count as f64 / time.as_secs_f64().max(1e-9);
    let (counts, times) = (end.counts, end.durations);
    let row = |name: &str, value: String| eprintln!("{name:<22}{value}");
    eprintln!();
    row("total duration:", human::duration(times.total + times.load));
    row("load duration:", human::duration(times.load));
    row("prompt eval count:", format!("{} token(s)", counts.prompt));
    row("prompt eval duration:", human::duration(times.prompt));
    row("prompt eval rate:", format!("{:.2} tokens/s", rate(counts.prompt - counts.cached, times.prompt)));
    row("eval count:", format!("{} token(s)", counts.generated));
    row("eval duration:", human::duration(times.generate));
    row("eval rate:", format!("{:.2} tokens/s", rate(counts.generated, times.generate)));
}

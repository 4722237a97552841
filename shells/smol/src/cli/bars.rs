//! Progress of blobs: a bar for each on a terminal, nothing elsewhere.

use std::{collections::BTreeMap, io::IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tutu_node::work::pull::What;

use crate::perform::{Progress, Stage};

/// The bars of one pull.
pub struct Bars {
    shown: bool,
    all: MultiProgress,
    bars: BTreeMap<What, ProgressBar>,
}

impl Bars {
    /// No bar yet; none ever where standard error is no terminal.
    pub fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), all: MultiProgress::new(), bars: BTreeMap::new() }
    }

    /// Shows how far a blob is.
    pub fn show(&mut self, progress: Progress) {
        if !self.shown {
            return;
        }
        let bar = self.bars.entry(progress.what.clone()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(progress.total));
            let style = "{msg} {percent:>3}% ▕{bar:30}▏ {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
            }
            bar
        });
        let verb = if progress.stage == Stage::Verifying { "verifying" } else { "pulling" };
        let name = match &progress.what {
            What::Blob(digest) => digest.short(),
            What::Url(url) => url.rsplit('/').next().unwrap_or_default().into(),
        };
        bar.set_message(format!("{verb} {name}"));
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    }

    /// Leaves the bars as they are.
    pub fn finish(self) {
        self.bars.values().for_each(ProgressBar::abandon);
    }
}

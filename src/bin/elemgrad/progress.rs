//! The progress bar of long work. It appears only on standard error, and only if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `len` elements. It vanishes when dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(what: &str, len: u64) -> Self {
        let bar = ProgressBar::new(len).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} %  {eta} left") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// A spinner for work that has nothing to count.
    pub(crate) fn spinner(what: &str) -> Self {
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self(spinner)
    }

    /// Shows that `done` of all elements are done.
    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

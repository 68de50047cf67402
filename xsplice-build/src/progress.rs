//! A progress bar for work that takes longer than a second, on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether progress may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// On a terminal, once it takes long enough.
    Auto,
    /// Never.
    Hidden,
}

/// Counts steps of one kind of work.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Starts counting towards `steps`.
    #[must_use]
    pub fn start(what: &'static str, steps: usize, visibility: Visibility) -> Progress {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        let bar = match visibility {
            Visibility::Auto => {
                ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(4))
            }
            Visibility::Hidden => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(what);
        Progress(bar)
    }

    /// One step is done. Drawing begins after the first second.
    pub fn step(&self) {
        if self.0.elapsed() > Duration::from_secs(1) {
            self.0.inc(1);
        } else {
            self.0.update(|state| state.set_pos(state.pos() + 1));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

//! A progress bar for work that takes longer than a second, on a terminal.

use std::sync::Once;
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

/// No bar is shown for work that takes less time than this.
const QUIET: Duration = Duration::from_secs(1);

/// Redraws a second.
const REDRAWS: u8 = 4;

/// Counts steps of one kind of work.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// Draws the bar when the work takes long, once.
    shown: Option<Once>,
}

impl Progress {
    /// Starts counting towards `steps`.
    #[must_use]
    pub fn start(what: &'static str, steps: usize, visibility: Visibility) -> Progress {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(what);
        let shown = match visibility {
            Visibility::Auto => Some(Once::new()),
            Visibility::Hidden => None,
        };
        Progress { bar, shown }
    }

    /// One step is done. Drawing begins after the first second.
    pub fn step(&self) {
        if let Some(shown) = &self.shown
            && self.bar.elapsed() > QUIET
        {
            shown.call_once(|| {
                self.bar
                    .set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS));
            });
        }
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

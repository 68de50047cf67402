//! Stops a running build and all its processes when the user interrupts the command.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Knows what to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Leader of the process group that builds.
    group: Option<Pid>,
    /// How often the user asked.
    asked: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// A build is running, so there is something to clean up.
    Building,
    /// Signals do what they always do.
    Idle,
}

/// The user asked to stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted; the unfinished build was removed")]
pub(crate) struct Interrupted;

/// The one that listens: signals belong to the whole process.
static LISTENING: OnceLock<Interrupt> = OnceLock::new();

/// While it exists, a signal stops the build first, and the program after the cleanup.
#[derive(Debug)]
pub(crate) struct Building(Interrupt);

impl Interrupt {
    /// Begins to listen, unless an earlier build did.
    ///
    /// # Errors
    ///
    /// When the system allows no handlers.
    pub(crate) fn install() -> Result<Interrupt> {
        if let Some(listening) = LISTENING.get() {
            return Ok(listening.clone());
        }
        let interrupt = Interrupt(Arc::new(Mutex::new(State {
            phase: Phase::Idle,
            group: None,
            asked: 0,
        })));
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
        let own = interrupt.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                own.asked(signal);
            }
        });
        Ok(LISTENING.get_or_init(|| interrupt).clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, signal: i32) {
        let mut state = self.state();
        if state.phase == Phase::Idle {
            drop(state);
            let _ = emulate_default_handler(signal);
            return;
        }
        state.asked = state.asked.saturating_add(1);
        if let Some(group) = state.group {
            // A first signal lets make remove unfinished files; a second one kills.
            let how = if state.asked == 1 {
                Signal::TERM
            } else {
                Signal::KILL
            };
            let _ = kill_process_group(group, how);
        }
    }

    /// From here on there is something to clean up.
    #[must_use]
    pub(crate) fn building(&self) -> Building {
        self.state().phase = Phase::Building;
        Building(self.clone())
    }

    /// Names the process group that is to be ended, or that there is none any more.
    pub(crate) fn set_group(&self, group: Option<Pid>) {
        let mut state = self.state();
        state.group = group;
        if let Some(group) = group
            && state.asked > 0
        {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    /// Returns an error if the user asked to stop.
    ///
    /// # Errors
    ///
    /// When the user did.
    pub(crate) fn check(&self) -> Result<()> {
        if self.state().asked > 0 {
            return Err(Interrupted.into());
        }
        Ok(())
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.0.state().phase = Phase::Idle;
    }
}

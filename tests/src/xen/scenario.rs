//! What a scenario is: the steps dom0 takes, what each must do, and how a step is judged.

use std::path::PathBuf;

use super::script::Outcome;

/// Whether a step is repeated when the stock tool says "try again".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Run once: its exit status is what it is.
    Never,
    /// Repeated on exit status 2. The stock tool allows the CPUs 30 ms to come together, which an
    /// emulated machine on a busy host misses at random.
    WhenBusy,
}

/// Something a step must print, or must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// The command's output holds this.
    Output(String),
    /// The command's output does not hold this.
    OutputLacks(String),
    /// Xen's console holds this.
    Console(String),
    /// Xen's console does not hold this.
    ConsoleLacks(String),
}

/// What `xsplice-link verify` said before the boot of what this step asks the hypervisor to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foretold {
    /// The hypervisor will take it.
    Takes,
    /// It will not, and why.
    Refuses {
        /// The checks that failed.
        why: String,
        /// The error numbers that the loader would return for them.
        errnos: Vec<i32>,
    },
}

/// One command in dom0.
#[derive(Debug, Clone)]
pub struct Step {
    /// What the step is for, in the table's words.
    pub what: String,
    /// The shell command.
    pub command: String,
    /// When it is repeated.
    pub retry: Retry,
    /// The exit status it must have; `None` when any will do.
    pub status: Option<i32>,
    /// What it must print.
    pub texts: Vec<Text>,
    /// What was foretold of it.
    pub foretold: Option<Foretold>,
}

impl Step {
    /// A step that must succeed.
    pub fn new(what: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            command: command.into(),
            retry: Retry::Never,
            status: Some(0),
            texts: Vec::new(),
            foretold: None,
        }
    }

    /// The exit status it must have.
    #[must_use]
    pub fn exits(mut self, status: i32) -> Self {
        self.status = Some(status);
        self
    }

    /// Any exit status will do.
    #[must_use]
    pub fn exits_somehow(mut self) -> Self {
        self.status = None;
        self
    }

    /// Repeat it when the stock tool says so.
    #[must_use]
    pub fn retried(mut self) -> Self {
        self.retry = Retry::WhenBusy;
        self
    }

    /// Something it must or must not print.
    #[must_use]
    pub fn says(mut self, text: Text) -> Self {
        self.texts.push(text);
        self
    }

    /// What was foretold of it.
    #[must_use]
    pub fn foretold(mut self, foretold: &Foretold) -> Self {
        self.foretold = Some(foretold.clone());
        self
    }

    /// What is wrong with what the step did, if anything.
    pub fn judge(&self, outcome: Option<&Outcome>) -> Result<(), String> {
        let Some(outcome) = outcome else {
            return Err("was not reached".to_owned());
        };
        let Some(status) = outcome.status else {
            return Err("the guest died in it".to_owned());
        };
        if let Some(expected) = self.status
            && status != expected
        {
            return Err(format!(
                "exit status {status}, {expected} expected: {}",
                quote(outcome)
            ));
        }
        for text in &self.texts {
            let (holds, wanted) = match text {
                Text::Output(wanted) => (outcome.output.contains(wanted), wanted),
                Text::OutputLacks(wanted) => (!outcome.output.contains(wanted), wanted),
                Text::Console(wanted) => (outcome.console.contains(wanted), wanted),
                Text::ConsoleLacks(wanted) => (!outcome.console.contains(wanted), wanted),
            };
            if !holds {
                let rule = match text {
                    Text::Output(_) | Text::Console(_) => "does not say",
                    Text::OutputLacks(_) | Text::ConsoleLacks(_) => "says",
                };
                return Err(format!("{rule} {wanted:?}: {}", quote(outcome)));
            }
        }
        match &self.foretold {
            None => Ok(()),
            Some(foretold) => compare(foretold, status, outcome),
        }
    }
}

/// Holds what the hypervisor did against what `verify` said it would: the same verdict, and where
/// it refuses, an error number that `verify` named.
fn compare(foretold: &Foretold, status: i32, outcome: &Outcome) -> Result<(), String> {
    match (foretold, status) {
        (Foretold::Takes, 0) => Ok(()),
        (Foretold::Takes, _) => Err(format!("verify foretold that it works: {}", quote(outcome))),
        (Foretold::Refuses { why, .. }, 0) => Err(format!("it works, and verify foretold: {why}")),
        (Foretold::Refuses { errnos, .. }, _) => {
            let named = |errno: &i32| outcome.output.contains(&format!("Error {errno}:"));
            if errnos.iter().any(named) {
                Ok(())
            } else {
                Err(format!(
                    "verify foretold error {errnos:?}: {}",
                    quote(outcome)
                ))
            }
        }
    }
}

fn quote(outcome: &Outcome) -> String {
    let one_line = |text: &str| text.trim().replace('\n', " / ");
    format!(
        "output {:?}, console {:?}",
        one_line(&outcome.output),
        one_line(&outcome.console)
    )
}

/// A payload in dom0's file system.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The name it has under `/p`, unique in a boot.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Steps that start and end with an unpatched hypervisor.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name in the table.
    pub name: String,
    /// What is expected, in a line.
    pub expected: String,
    /// The payloads it loads.
    pub payloads: Vec<Placed>,
    /// What dom0 does.
    pub steps: Vec<Step>,
}

#[cfg(test)]
mod tests {
    use super::{Foretold, Outcome, Step, Text};

    fn outcome(status: i32) -> Outcome {
        Outcome {
            status: Some(status),
            output: "extra: .5\n".to_owned(),
            ..Outcome::default()
        }
    }

    #[test]
    fn a_step_is_judged_by_status_text_and_prophecy() {
        let step = Step::new("extra", "cat").says(Text::Output(".5".to_owned()));
        assert_eq!(step.judge(Some(&outcome(0))), Ok(()));
        assert!(step.judge(Some(&outcome(1))).is_err());
        assert!(step.judge(None).is_err());
        let absent = Step::new("extra", "cat").says(Text::OutputLacks(".5".to_owned()));
        assert!(absent.judge(Some(&outcome(0))).is_err());
    }

    #[test]
    fn a_refusal_must_be_for_the_error_that_was_foretold() {
        let refused = Step::new("apply", "x").foretold(&Foretold::Refuses {
            why: "why".to_owned(),
            errnos: vec![22],
        });
        assert!(refused.judge(Some(&outcome(0))).is_err());
        let refused = refused.exits(1);
        let with = |output: &str| Outcome {
            output: output.to_owned(),
            ..outcome(1)
        };
        let invalid = with("Error 22: Invalid argument\n");
        assert_eq!(refused.judge(Some(&invalid)), Ok(()));
        let exists = with("Error 17: File exists\n");
        assert!(refused.judge(Some(&exists)).is_err());
    }

    #[test]
    fn a_dead_guest_passes_no_step() {
        let step = Step::new("anything", "true").exits_somehow();
        assert!(step.judge(Some(&Outcome::default())).is_err());
    }
}

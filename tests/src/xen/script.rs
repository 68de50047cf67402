//! Turns the steps of the scenarios into the shell script that dom0 runs, and dom0's console back
//! into what each step did.
//!
//! dom0 shares Xen's serial line, so the marks of the script and Xen's own messages arrive in the
//! order in which they happened: what Xen prints between two marks belongs to the step between
//! them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::scenario::{Retry, Scenario};

/// How many times a step of the stock tool is repeated when it says "try again" (exit status 2).
pub const RETRIES: u32 = 20;
/// What the stock tool exits with when an action timed out or another was in progress.
const TRY_AGAIN: i32 = 2;

const MARK: &str = "@@";

/// The place of a step: scenario and step number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId {
    /// Index of the scenario in the list that was booted.
    pub scenario: usize,
    /// Index of the step in its scenario.
    pub step: usize,
}

/// What one step did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The command's exit status, `None` when the guest died in it.
    pub status: Option<i32>,
    /// What the command printed, both streams.
    pub output: String,
    /// What Xen printed meanwhile.
    pub console: String,
    /// How often the stock tool said "try again" before.
    pub retries: u32,
}

/// The `/init` of dom0: mounts, loads the modules, runs the script, powers off.
pub fn init(modules: &[String]) -> String {
    let mut text = String::from(
        "#!/bin/sh\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         mount -t devtmpfs dev /dev\n\
         echo 1 > /proc/sys/kernel/printk\n",
    );
    for module in modules {
        let _ = writeln!(text, "insmod /{module}");
    }
    text.push_str(
        "echo \"@@BOOT $(cat /proc/uptime)\"\n\
         echo \"@@XEN $(cat /sys/hypervisor/properties/buildid)\"\n\
         sh /test.sh\n\
         echo @@DONE\n\
         poweroff -f\n",
    );
    text
}

/// The script that runs `scenarios` one after the other.
pub fn write(scenarios: &[Scenario]) -> String {
    let mut text = String::from("cd /\n");
    for (scenario_index, scenario) in scenarios.iter().enumerate() {
        for (step_index, step) in scenario.steps.iter().enumerate() {
            let id = format!("{scenario_index} {step_index}");
            let repeat = match step.retry {
                Retry::Never => "break".to_owned(),
                Retry::WhenBusy => {
                    format!("[ $rc = {TRY_AGAIN} ] && [ $n -lt {RETRIES} ] || break")
                }
            };
            // The newline keeps the mark behind output that ends without one on its own line.
            let _ = writeln!(
                text,
                "n=0\n\
                 while :; do\n\
                 echo \"{MARK}BEGIN {id} $n\"\n\
                 ( {command} ) > /tmp/out 2>&1\n\
                 rc=$?\n\
                 echo >> /tmp/out\n\
                 sed 's/^/{MARK}OUT /' /tmp/out\n\
                 echo \"{MARK}END {id} $rc\"\n\
                 {repeat}\n\
                 n=$((n+1))\n\
                 sleep 1\n\
                 done",
                command = step.command,
            );
        }
        // Whatever happened, the next scenario finds an unpatched hypervisor.
        let _ = writeln!(text, "echo \"{MARK}CLEAN\"");
        let _ = writeln!(
            text,
            "for n in 1 2 3 4 5 6; do\n\
             left=$(xen-livepatch list 2>/dev/null | sed 1,2d | cut -d'|' -f1)\n\
             [ -n \"$left\" ] || break\n\
             for try in 1 2 3; do\n\
             for name in $left; do xen-livepatch revert $name; done\n\
             done > /dev/null 2>&1\n\
             for name in $left; do xen-livepatch unload $name; done > /dev/null 2>&1\n\
             done"
        );
    }
    text
}

/// What a line of the console tells of the script's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A step starts for the first time.
    Starts(StepId),
    /// The stock tool said "try again", and the step starts anew.
    Retry {
        /// The step.
        id: StepId,
        /// Which repetition it is, from 1 to [`RETRIES`].
        attempt: u32,
    },
}

/// Reads the console of a guest line by line: what each step did, and how far the script is.
#[derive(Debug, Default)]
pub struct Reader {
    outcomes: BTreeMap<StepId, Outcome>,
    current: Option<(StepId, Outcome)>,
}

impl Reader {
    /// Takes the next line.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        let line = line.trim_end_matches('\r');
        if let Some((_, rest)) = line.split_once(&format!("{MARK}BEGIN ")) {
            self.outcomes.extend(self.current.take());
            let [scenario, step, attempt] = numbers(rest)?;
            let id = StepId {
                scenario: usize::try_from(scenario).ok()?,
                step: usize::try_from(step).ok()?,
            };
            let attempt = u32::try_from(attempt).ok()?;
            let outcome = Outcome {
                retries: attempt,
                ..Outcome::default()
            };
            self.current = Some((id, outcome));
            return Some(match attempt {
                0 => Event::Starts(id),
                _ => Event::Retry { id, attempt },
            });
        }
        if line.contains(&format!("{MARK}CLEAN")) {
            self.outcomes.extend(self.current.take());
        } else if let Some((_, outcome)) = &mut self.current {
            if let Some((_, rest)) = line.split_once(&format!("{MARK}END ")) {
                outcome.status =
                    numbers(rest).and_then(|[_, _, status]| i32::try_from(status).ok());
            } else if let Some((_, rest)) = line.split_once(&format!("{MARK}OUT ")) {
                outcome.output.push_str(rest);
                outcome.output.push('\n');
            } else if let Some(said) = line.strip_prefix("(XEN) ") {
                outcome.console.push_str(said);
                outcome.console.push('\n');
            }
        }
        None
    }

    /// What each step did; the one that was not finished has no status.
    pub fn finish(mut self) -> BTreeMap<StepId, Outcome> {
        self.outcomes.extend(self.current.take());
        self.outcomes
    }
}

fn numbers(text: &str) -> Option<[i64; 3]> {
    let mut words = text.split_whitespace().map(str::parse::<i64>);
    Some([
        words.next()?.ok()?,
        words.next()?.ok()?,
        words.next()?.ok()?,
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Event, Outcome, Reader, StepId};

    const FIRST: StepId = StepId {
        scenario: 0,
        step: 0,
    };

    fn read(console: &str) -> (BTreeMap<StepId, Outcome>, Vec<Event>) {
        let mut reader = Reader::default();
        let events = console.lines().filter_map(|line| reader.line(line));
        let events = events.collect();
        (reader.finish(), events)
    }

    #[test]
    fn xens_lines_belong_to_the_step_they_fall_in() {
        let console = "(XEN) before\n@@BEGIN 0 0 0\n(XEN) livepatch: x\n@@OUT failed\n@@END 0 0 2\n\
                       @@BEGIN 0 0 1\n@@OUT done\n@@END 0 0 0\n(XEN) late\n@@CLEAN\n(XEN) after\n";
        let (outcomes, events) = read(console);
        let expected = Outcome {
            status: Some(0),
            output: "done\n".to_owned(),
            console: "late\n".to_owned(),
            retries: 1,
        };
        assert_eq!(outcomes.get(&FIRST), Some(&expected));
        assert_eq!(outcomes.len(), 1);
        let retry = Event::Retry {
            id: FIRST,
            attempt: 1,
        };
        assert_eq!(events, [Event::Starts(FIRST), retry]);
    }

    #[test]
    fn a_step_the_guest_died_in_has_no_status() {
        let (outcomes, _) = read("@@BEGIN 3 1 0\n(XEN) Panic on CPU 0:\n");
        let id = StepId {
            scenario: 3,
            step: 1,
        };
        assert_eq!(outcomes.get(&id).map(|outcome| outcome.status), Some(None));
    }
}

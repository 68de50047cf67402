//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

use crate::calls::KernelTimeout;

/// Talks to the live-patch runtime of a kernel.
///
/// A payload is uploaded, which checks it, and then applied: all CPUs stop for a moment, and jumps
/// to its functions are written. It stays until it is reverted or replaced, and in memory until it
/// is unloaded.
#[derive(Debug, Parser)]
#[command(
    name = "xsplice-ctl",
    version,
    infer_subcommands = true,
    arg_required_else_help = false,
    max_term_width = 100,
    after_help = "Commands may be shortened as long as one alone fits: `xsplice-ctl rev NAME`.\n\
                  Exit status: 0 done; 1 failed; 2 busy, try again (-EBUSY, -EAGAIN)."
)]
pub struct Arguments {
    /// Socket of the kernel's control channel; `make kernel` prints it
    #[arg(long, global = true, value_name = "PATH", env = "XSPLICE_SOCKET")]
    pub socket: Option<PathBuf>,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// How long to wait for an answer, and for an action to end
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = wait)]
    pub wait: Duration,

    /// What to do; without it, help is printed
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what kernel runs
    Info,
    /// Show the payloads and their states, in the order they were uploaded
    List {
        /// With what their .modinfo says
        #[arg(long)]
        metadata: bool,
    },
    /// Show one payload
    Get {
        /// The payload
        name: String,
    },
    /// Give the kernel a payload, which checks it and keeps it out of effect
    ///
    /// The state is CHECKED then. What the kernel refuses, `xsplice-link verify` would have said.
    Upload {
        /// Its name from now on, up to 127 bytes
        name: String,
        /// The payload
        file: PathBuf,
        #[command(flatten)]
        goal: GoalOption,
    },
    /// Upload and apply; on failure, unload
    ///
    /// The payload's name is the file's without its last extension.
    Load {
        /// The payload
        file: PathBuf,
        /// Its name from now on; without it, the file's without its last extension
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        apply: ApplyOptions,
    },
    /// Ask whether apply would work now
    ///
    /// Changes nothing and stops no CPU.
    Check {
        /// The payload
        name: String,
        #[command(flatten)]
        dependencies: DependencyOption,
    },
    /// Put a payload into effect
    ///
    /// All CPUs stop while its jumps are written. When they do not come together in time nothing
    /// is written, and the exit status is 2: try again.
    Apply {
        /// The payload
        name: String,
        #[command(flatten)]
        apply: ApplyOptions,
    },
    /// Take the payload on top of the stack out of effect
    ///
    /// The old code is put back as it was. Payloads below stay in effect.
    Revert {
        /// The payload
        name: String,
        /// Leave words of data as they are that the kernel has changed since; without it, such a
        /// word keeps the payload in effect
        #[arg(long)]
        leave_words: bool,
        #[command(flatten)]
        timeout: TimeoutOption,
        #[command(flatten)]
        goal: GoalOption,
    },
    /// Take all payloads out of effect and put this one into it, in one step
    Replace {
        /// The payload
        name: String,
        #[command(flatten)]
        timeout: TimeoutOption,
        #[command(flatten)]
        goal: GoalOption,
    },
    /// Make the kernel forget a payload that is not in effect
    ///
    /// What it keeps in data of its own is lost.
    Unload {
        /// The payload
        name: String,
        #[command(flatten)]
        goal: GoalOption,
    },
    /// Print all that the runtime knows: payloads, regions, records
    Dump,
    /// Give the test kernel one of its own commands; runtime/testkernel/README.md lists them
    #[command(hide = true)]
    Test {
        /// The command's words
        #[arg(required = true)]
        words: Vec<String>,
    },
}

/// Of what puts a payload into effect.
#[derive(Debug, Args)]
pub struct ApplyOptions {
    /// The kernel's patience.
    #[command(flatten)]
    pub timeout: TimeoutOption,
    /// The stack's order.
    #[command(flatten)]
    pub dependencies: DependencyOption,
    /// What is there.
    #[command(flatten)]
    pub goal: GoalOption,
}

/// Of what stops the CPUs.
#[derive(Debug, Args)]
pub struct TimeoutOption {
    /// How long the kernel waits for its CPUs; 0s is the kernel's default of 30 ms
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = kernel_timeout)]
    pub timeout: KernelTimeout,
}

/// Of what looks at dependencies.
#[derive(Debug, Args)]
pub struct DependencyOption {
    /// Do not ask for the dependency on top of the stack
    #[arg(long)]
    pub nodeps: bool,
}

/// Of what changes something.
#[derive(Debug, Args)]
pub struct GoalOption {
    /// Succeed when it is already so
    #[arg(long)]
    pub if_needed: bool,
}

/// Reads `30ms`, `5s`, `100us`, `250ns`. A unit is asked for: seconds and nanoseconds are too far
/// apart to guess.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a whole number and a unit, such as 30ms".to_owned())?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "us" => Ok(Duration::from_micros(number)),
        "ns" => Ok(Duration::from_nanos(number)),
        _ => Err("expected a unit: s, ms, us or ns".to_owned()),
    }
}

/// What a clock can wait for: something, and no more than [`WAIT_MAX`].
fn wait(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err("nothing can be answered in no time; the least is 1ns".to_owned());
    }
    if duration > WAIT_MAX {
        return Err(format!(
            "at most {} s can be waited for",
            WAIT_MAX.as_secs()
        ));
    }
    Ok(duration)
}

/// A year: longer than any kernel takes, and no clock that is added to overflows.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn kernel_timeout(text: &str) -> Result<KernelTimeout, String> {
    let ns = u32::try_from(duration(text)?.as_nanos())
        .map_err(|_| format!("the kernel takes at most {:?}", KernelTimeout::MAX))?;
    Ok(KernelTimeout { ns })
}

#[cfg(test)]
mod tests {
    use super::{Arguments, WAIT_MAX, duration, kernel_timeout, wait};
    use clap::{CommandFactory, Parser};
    use std::time::Duration;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_need_a_unit_and_fit_the_calls_field() {
        assert_eq!(duration("30ms"), Ok(Duration::from_millis(30)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in [
            "",
            "30",
            "ms",
            "-1s",
            "1.5s",
            "1 s",
            "1m",
            "99999999999999999999s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(kernel_timeout("4s").map(|t| t.ns), Ok(4_000_000_000));
        assert!(kernel_timeout("5s").is_err());
    }

    #[test]
    fn a_wait_is_taken_or_refused_but_never_overflows_a_clock() {
        assert_eq!(wait("1ns"), Ok(Duration::from_nanos(1)));
        assert_eq!(wait("31536000s"), Ok(WAIT_MAX));
        for text in ["0s", "0ns", "31536001s", "18446744073709551615s"] {
            assert!(wait(text).is_err(), "{text}");
            let line = ["xsplice-ctl", "--wait", text, "info"];
            assert!(Arguments::try_parse_from(line).is_err(), "{text}");
        }
        assert!(std::time::Instant::now().checked_add(WAIT_MAX).is_some());
    }

    #[test]
    fn commands_may_be_shortened_while_one_alone_fits() {
        for short in [
            "inf", "li", "g a", "up a f", "lo f", "c a", "a a", "rev a", "rep a", "un a",
        ] {
            let line = format!("xsplice-ctl {short}");
            Arguments::try_parse_from(line.split(' ')).expect(short);
        }
        for ambiguous in ["l", "re a", "u a"] {
            let line = format!("xsplice-ctl {ambiguous}");
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{ambiguous}"
            );
        }
    }
}

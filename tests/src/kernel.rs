//! Talks to a booted test kernel: facts, counters, its own test commands, and payload actions.
//!
//! Each call connects anew, because the console takes one at a time and the tool wants it too.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use xsplice_abi::Errno;
use xsplice_abi::channel::{CALL_INFO, CALL_TEST};
use xsplice_abi::hypercall::Operation;
use xsplice_ctl::CtlError;
use xsplice_ctl::action::{Goal, Outcome, Plan, perform};
use xsplice_ctl::calls::{
    self, ActionKind, Dependencies, KernelTimeout, PayloadName, State, Status,
};
use xsplice_ctl::list::{Entry, list};
use xsplice_ctl::transport::{SocketTransport, Transport};

use crate::limit::scaled;

/// Emulated CPUs take turns on the few real ones: what takes microseconds takes seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long all CPUs have to come to the rendezvous. The longest that a call can ask for, almost.
pub const CPU_TIMEOUT: KernelTimeout = KernelTimeout { ns: 4_000_000_000 };

/// How often an action is asked for while CPUs do not come: many emulated ones on few real ones may
/// not even within [`CPU_TIMEOUT`].
const ATTEMPTS: u32 = 20;

/// A booted kernel, by the socket of one of its ports.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The socket.
    pub socket: PathBuf,
}

/// What a call came to: done, or the kernel's error number.
pub type Answer<T> = Result<T, Errno>;

impl Kernel {
    fn connect(&self) -> Result<SocketTransport> {
        Ok(SocketTransport::connect(
            &self.socket,
            scaled(ANSWER_LIMIT)?,
        )?)
    }

    /// What `info` says, by key.
    ///
    /// # Errors
    /// When the kernel does not answer, or refuses.
    pub fn info(&self) -> Result<BTreeMap<String, String>> {
        match self.call_text(CALL_INFO, "")? {
            Ok(text) => Ok(pairs(&text)),
            Err(errno) => bail!("info: {errno}"),
        }
    }

    /// Gives a test command; see runtime/testkernel/README.md.
    ///
    /// # Errors
    /// When the kernel does not answer, or refuses.
    pub fn test(&self, command: &str) -> Result<String> {
        match self.call_text(CALL_TEST, command)? {
            Ok(text) => Ok(text),
            Err(errno) => bail!("{command}: {errno}"),
        }
    }

    /// Uploads `payload` as `name`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn upload(&self, name: &str, payload: &[u8]) -> Result<Answer<()>> {
        refusal(calls::upload(
            &mut self.connect()?,
            &PayloadName::new(name)?,
            payload,
        ))
    }

    /// Its status, if the kernel knows it.
    ///
    /// # Errors
    /// When there is no answer, or a refusal of another kind.
    pub fn get(&self, name: &str) -> Result<Option<Status>> {
        Ok(calls::get(&mut self.connect()?, &PayloadName::new(name)?)?)
    }

    /// All payloads.
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub fn list(&self) -> Result<Vec<Entry>> {
        Ok(list(&mut self.connect()?)?)
    }

    /// Names and states, which is what most tests look at.
    ///
    /// # Errors
    /// As [`Kernel::list`].
    pub fn states(&self) -> Result<Vec<(String, State)>> {
        let entries = self.list()?.into_iter();
        Ok(entries
            .map(|entry| (entry.name, entry.status.state))
            .collect())
    }

    /// Carries out an action to its end.
    ///
    /// # Errors
    /// When there is no answer, or no end.
    pub fn act(&self, kind: ActionKind, name: &str) -> Result<Answer<()>> {
        self.act_with(kind, name, CPU_TIMEOUT, Dependencies::Enforced)
    }

    /// Carries out an action that nothing stands against: asked again while -EBUSY says that a CPU
    /// did not come in time, which must then have changed nothing. Gives how often that was.
    ///
    /// # Errors
    /// When there is no answer or no end, when -EBUSY changed something, or came too often.
    pub fn persist(&self, kind: ActionKind, name: &str) -> Result<Answer<u32>> {
        for busy in 0..ATTEMPTS {
            let before = self.get(name)?.map(|status| status.state);
            match self.act(kind, name)? {
                Err(Errno::EBUSY) => {
                    let after = self.get(name)?.map(|status| status.state);
                    ensure!(
                        after == before,
                        "{kind} {name}: -EBUSY, but {before:?} became {after:?}"
                    );
                }
                answer => return Ok(answer.map(|()| busy)),
            }
        }
        bail!("{kind} {name}: -EBUSY {ATTEMPTS} times");
    }

    /// As [`Kernel::act`], with all that an action may say.
    ///
    /// # Errors
    /// As [`Kernel::act`].
    pub fn act_with(
        &self,
        kind: ActionKind,
        name: &str,
        timeout: KernelTimeout,
        dependencies: Dependencies,
    ) -> Result<Answer<()>> {
        let plan = Plan {
            kind,
            timeout,
            dependencies,
            goal: Goal::Act,
            limit: scaled(ANSWER_LIMIT)?,
        };
        let outcome = perform(&mut self.connect()?, &PayloadName::new(name)?, &plan);
        if let Ok(outcome) = outcome {
            ensure!(outcome == Outcome::Completed, "{kind} {name}: {outcome:?}");
        }
        refusal(outcome.map(drop))
    }

    /// Asks for an action and gives the kernel's first word, without looking before or waiting
    /// after.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, kind: ActionKind, name: &str) -> Result<Answer<()>> {
        Ok(calls::action(
            &mut self.connect()?,
            &PayloadName::new(name)?,
            kind,
            CPU_TIMEOUT,
            Dependencies::Enforced,
        )?)
    }

    /// Makes one call as it is; gives what it returned, and the operation as it left it.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn call(&self, operation: &Operation, area: &[u8]) -> Result<(Answer<()>, Operation)> {
        let (mut operation, mut area) = (*operation, area.to_vec());
        let result = self.connect()?.sysctl(&mut operation, &mut area)?;
        Ok((Errno::from_return(result).map_or(Ok(()), Err), operation))
    }

    /// Makes a call that is not about payloads.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn call_text(&self, call: u32, request: &str) -> Result<Answer<String>> {
        let (result, text) = self.connect()?.text(call, request)?;
        Ok(match Errno::from_return(result) {
            Some(errno) => Err(errno),
            None => Ok(text),
        })
    }

    /// Waits until `reached` says so of what `info` says.
    ///
    /// # Errors
    /// When that takes longer than `limit`, with what `info` said last.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut reached: impl FnMut(&BTreeMap<String, String>) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + scaled(limit)?;
        loop {
            let info = self.info()?;
            if reached(&info) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{what}: not within {limit:?}: {info:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Tells what the kernel refused from what went wrong otherwise.
fn refusal(result: Result<(), CtlError>) -> Result<Answer<()>> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(CtlError::Refused { errno, .. }) => Ok(Err(errno)),
        Err(error) => Err(error.into()),
    }
}

/// Lines of `key=value`.
fn pairs(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A number that `info` says.
///
/// # Errors
/// When it does not, or it is none.
pub fn number(info: &BTreeMap<String, String>, key: &str) -> Result<u64> {
    let text = info
        .get(key)
        .with_context(|| format!("no {key} in {info:?}"))?;
    parse(text).with_context(|| format!("{key}={text}"))
}

/// One line of `stats`: what one CPU has done since boot.
pub type Counters = BTreeMap<String, u64>;

impl Kernel {
    /// What each CPU has done, by its number.
    ///
    /// # Errors
    /// When the kernel does not answer, or its answer has no numbers.
    pub fn cpus(&self) -> Result<Vec<Counters>> {
        self.test("stats")?.lines().map(counters).collect()
    }

    /// What each check of the workers gives at this moment, by its name.
    ///
    /// # Errors
    /// As [`Kernel::cpus`].
    pub fn values(&self) -> Result<Counters> {
        values(&self.test("values")?)
    }

    /// Waits until every CPU has gone round its work loop from now on and its last result of the
    /// hot function is `hot`; gives the counters then.
    ///
    /// # Errors
    /// When that takes longer than `limit`, with the counters.
    pub fn wait_for_all_cpus(&self, hot: u32, limit: Duration) -> Result<Vec<Counters>> {
        let deadline = Instant::now() + scaled(limit)?;
        let before = self.cpus()?;
        loop {
            let now = self.cpus()?;
            ensure!(
                now.len() == before.len(),
                "{} CPUs have become {}",
                before.len(),
                now.len()
            );
            let moved = |key: &str| {
                let pairs = now.iter().zip(&before);
                pairs
                    .map(|(now, before)| (now.get(key), before.get(key)))
                    .all(|(now, before)| now > before)
            };
            let agree = now
                .iter()
                .all(|cpu| cpu.get("last_value") == Some(&u64::from(hot)));
            if agree && moved("calls") && moved("safe_points") {
                return Ok(now);
            }
            ensure!(
                Instant::now() < deadline,
                "not every CPU goes round and gives {hot:#x} within {limit:?}: {now:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Lines of `name=number`.
///
/// # Errors
/// When one is something else.
pub fn values(text: &str) -> Result<Counters> {
    text.lines()
        .map(counters)
        .try_fold(Counters::new(), |mut all, line| {
            all.extend(line?);
            Ok(all)
        })
}

/// Words of `key=number`.
fn counters(line: &str) -> Result<Counters> {
    line.split_whitespace()
        .map(|word| {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("{word:?} in {line:?}"))?;
            Ok((
                key.to_owned(),
                parse(value).with_context(|| word.to_owned())?,
            ))
        })
        .collect()
}

fn parse(text: &str) -> Result<u64> {
    Ok(match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16)?,
        None => text.parse()?,
    })
}

//! Checks whether the loader would take a payload on a base, and whether it would have its intended
//! effect.
//!
//! The file is read by goblin and by the loader's own reader, which must agree. Then the loader's
//! own rules run on it, and then the checks that need the base: names, addresses, sizes, bytes. The
//! report has one line for each check, with the error number that the loader would return.

mod branches;
mod identity;
mod lost_sites;
pub mod objects;
mod outlook;
pub mod provenance;
mod records;
mod refused;
mod sites;
mod symbols;
mod tables;
mod traps;
mod trial;

use std::fmt;

use serde::Serialize;
use xsplice_abi::errno::Errno;
use xsplice_abi::machine::Machine;
use xsplice_runtime::check;
use xsplice_runtime::read::deny::{self, Denied};
use xsplice_runtime::read::elf;
use xsplice_runtime::read::signature;

use crate::base::Base;
use crate::error::LinkError;
use crate::facts::Facts;
use crate::read;
use crate::sign::{self, Signer};
pub use outlook::{Escape, Outlook};
pub use refused::refusals;
pub use trial::Answer;

/// What is checked, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    /// goblin and the loader's own reader take the file.
    Readable,
    /// Both readers see the same payload.
    ReadersAgree,
    /// The file is not larger than a loader takes.
    Size,
    /// The rules that the loader checks on the file alone.
    LoaderRules,
    /// The payload's own build-id is that of its content.
    BuildId,
    /// It is for this base.
    BaseId,
    /// It stacks on the base or on the payload on top of the stack.
    Depends,
    /// Nothing that the machine's loader takes although the hypervisor would stop at it.
    Traps,
    /// The loader's own code places, relocates and judges it.
    TrialLoad,
    /// Each record's name and address are one function of the base, of the record's size.
    RecordTarget,
    /// The jump fits into each old function.
    RecordRoom,
    /// Each new function lies in the payload's code and has the record's size.
    RecordCode,
    /// The jump reaches wherever the loader may place the payload.
    RecordReach,
    /// No two jumps overlap, in the payload or with the stack.
    RecordOverlap,
    /// Nothing of the deny list.
    RecordDenied,
    /// The base starts with what the payload expects.
    Expectations,
    /// Each undefined symbol has one address.
    UndefinedSymbols,
    /// No name that the base or the stack has already.
    NameClashes,
    /// Each relocation fits wherever the loader may place the payload.
    Relocations,
    /// PC-relative fields without a relocation stay in their section.
    Branches,
    /// Hooks are functions of the payload, as many as allowed.
    Hooks,
    /// Table entries lie in the payload.
    Tables,
    /// Every place that the boot code would rewrite has its table entry.
    Sites,
    /// The signature is the certificate's.
    Signature,
    /// The provenance is that of this payload, base, patch and trees.
    Provenance,
    /// Everything in it is as the patched objects have it.
    Objects,
}

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it must be.
    Pass,
    /// The loader would refuse, or the payload would not have its intended effect.
    Fail,
    /// Not checked, for nothing was given to check it against.
    NotAsked,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub check: CheckKind,
    /// The result.
    pub verdict: Verdict,
    /// The error number that the loader would return, as a positive number; `None` for what passes,
    /// and for what the loader takes although the payload would not have its intended effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// What was found.
    pub message: String,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// What messages call the payload.
    #[serde(skip)]
    pub payload: String,
    /// Every check; one line each, but one a failure.
    pub checks: Vec<Check>,
    /// The answer of the loader's own code.
    pub loader: Answer,
    /// What may be done with the payload later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlook: Option<Outlook>,
}

/// A file and what messages call it.
#[derive(Clone, Copy, Debug)]
pub struct NamedFile<'data> {
    /// Its path.
    pub path: &'data str,
    /// Its bytes.
    pub bytes: &'data [u8],
}

/// What a payload is verified against.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// The image.
    pub base: &'a Base<'a>,
    /// Payloads below, the lowest first.
    pub stack: &'a [NamedFile<'a>],
    /// Text of the base that may not be replaced.
    pub deny: &'a [Denied<'a>],
    /// Who must have signed the payload; `None` asks for no signature.
    pub signer: Option<&'a Signer>,
}

/// Collects the lines of one check: the failures, or one line for success.
struct Lines<'report> {
    checks: &'report mut Vec<Check>,
    kind: CheckKind,
    failed: bool,
}

impl<'report> Lines<'report> {
    fn new(checks: &'report mut Vec<Check>, kind: CheckKind) -> Lines<'report> {
        Lines {
            checks,
            kind,
            failed: false,
        }
    }

    /// Adds a fault for which the loader refuses with this number.
    fn fail(&mut self, errno: Errno, message: impl Into<String>) {
        self.push(Some(errno.code()), message.into());
    }

    /// Adds a fault that the loader does not notice: it would take the payload, which would not
    /// have its intended effect.
    fn fail_unseen(&mut self, message: impl Into<String>) {
        self.push(None, message.into());
    }

    fn push(&mut self, errno: Option<i32>, message: String) {
        self.failed = true;
        self.checks.push(Check {
            check: self.kind,
            verdict: Verdict::Fail,
            errno,
            message,
        });
    }

    fn pass(self, message: impl Into<String>) {
        self.close(Verdict::Pass, message.into());
    }

    /// Notes that the check needs an input that was not given.
    fn not_asked(self, message: impl Into<String>) {
        self.close(Verdict::NotAsked, message.into());
    }

    fn close(self, verdict: Verdict, message: String) {
        if !self.failed {
            self.checks.push(Check {
                check: self.kind,
                verdict,
                errno: None,
                message,
            });
        }
    }
}

/// Verifies one payload.
///
/// # Errors
/// [`LinkError::Payload`] when a payload of the *stack* cannot be read. What is wrong with the
/// payload itself is in the report.
pub fn verify(payload: NamedFile<'_>, against: Against<'_>) -> Result<Verification, LinkError> {
    let mut checks = Vec::new();
    signed(payload, against.signer, &mut checks);
    let outlook = match readable(payload, against.base.machine(), &mut checks) {
        None => None,
        Some(view) => {
            let stack: Vec<_> = against
                .stack
                .iter()
                .map(|below| {
                    read::payload(below.bytes).map_err(|source| LinkError::Payload {
                        path: below.path.to_owned(),
                        source,
                    })
                })
                .collect::<Result<_, _>>()?;
            let stack: Vec<Facts<'_, '_>> = stack.iter().map(Facts::new).collect();
            let facts = Facts::new(&view);
            let subject = Subject {
                payload,
                facts: &facts,
                base: against.base,
                stack: &stack,
                stack_files: against.stack,
                deny: against.deny,
            };
            identity::check(&subject, &mut checks);
            records::check(&subject, &mut checks);
            let trapped = symbols::check(&subject, &mut checks);
            traps::check(&subject, trapped, &mut checks);
            branches::check(&subject, &mut checks);
            tables::check(&subject, &mut checks);
            sites::check(&subject, &mut checks);
            Some(Outlook::new(&subject))
        }
    };
    let loader = trial::check(payload, &against, &mut checks);
    if loader.is_taken() {
        // The loader does not notice any of these faults.
        checks.iter_mut().for_each(|check| check.errno = None);
    }
    checks.sort_by_key(|check| check.check);
    Ok(Verification {
        payload: payload.path.to_owned(),
        checks,
        loader,
        outlook,
    })
}

/// Reads a deny list: a function or a range `START .. END` a line; `#` at the start of a line
/// begins a comment.
///
/// # Errors
/// [`LinkError::DenyList`] with the line that is neither.
pub fn deny_list(list: NamedFile<'_>) -> Result<Vec<Denied<'_>>, LinkError> {
    deny::parse(list.bytes).map_err(|source| LinkError::DenyList {
        path: list.path.to_owned(),
        source,
    })
}

/// Everything that the checks look at.
struct Subject<'a, 'view, 'data> {
    payload: NamedFile<'a>,
    facts: &'a Facts<'view, 'data>,
    base: &'a Base<'a>,
    stack: &'a [Facts<'a, 'a>],
    stack_files: &'a [NamedFile<'a>],
    deny: &'a [Denied<'a>],
}

/// The certificate as the loader's trusted key.
fn verifier(signer: Option<&Signer>) -> Option<&dyn signature::Verifier> {
    signer.map(|signer| signer as &dyn signature::Verifier)
}

/// The check that a loader with a trusted key makes first.
fn signed(payload: NamedFile<'_>, signer: Option<&Signer>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::Signature);
    if let Err(error) = signature::accept(payload.bytes, verifier(signer)) {
        lines.fail(error.errno(), error.to_string());
    }
    match signer {
        Some(signer) => lines.pass(format!("signed by {}", signer.name())),
        None => lines.not_asked(match signature::split(payload.bytes) {
            Ok((_, Some(signature))) => format!(
                "says that {} signed it; only --cert can tell",
                String::from_utf8_lossy(signature.signer).escape_debug()
            ),
            _ => "not signed".to_owned(),
        }),
    }
}

/// Reads the file twice and runs the rules that need the file alone.
fn readable<'data>(
    payload: NamedFile<'data>,
    machine: &'static Machine,
    checks: &mut Vec<Check>,
) -> Option<xsplice_runtime::read::view::View<'data>> {
    let mut lines = Lines::new(checks, CheckKind::Readable);
    let content = sign::content(payload.bytes);
    let own = elf::parse(content);
    if let Err(error) = &own {
        lines.fail(error.errno(), error.to_string());
    }
    let view = match read::read(content) {
        Ok(view) => view,
        Err(error) => {
            if own.is_ok() {
                lines.fail_unseen(error.to_string());
            }
            return None;
        }
    };
    lines.pass("an ELF file that both readers take");
    let own = own.ok()?;
    let mut lines = Lines::new(checks, CheckKind::ReadersAgree);
    if own != view {
        lines.fail_unseen("goblin and the loader's reader see different payloads in this file");
    }
    lines.pass("goblin and the loader's reader see the same payload");
    let mut lines = Lines::new(checks, CheckKind::LoaderRules);
    if let Err(error) = check::payload(&view, machine) {
        lines.fail(error.errno(), error.to_string());
    }
    lines.pass("header, sections, symbols, relocations, notes and hooks keep the loader's rules");
    Some(view)
}

impl Verification {
    /// Whether every check passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| check.verdict == Verdict::Fail)
    }
}

impl CheckKind {
    /// Its name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CheckKind::Readable => "readable",
            CheckKind::ReadersAgree => "readers-agree",
            CheckKind::Size => "size",
            CheckKind::LoaderRules => "loader-rules",
            CheckKind::BuildId => "build-id",
            CheckKind::BaseId => "base-id",
            CheckKind::Depends => "depends",
            CheckKind::Traps => "traps",
            CheckKind::TrialLoad => "trial-load",
            CheckKind::RecordTarget => "record-target",
            CheckKind::RecordRoom => "record-room",
            CheckKind::RecordCode => "record-code",
            CheckKind::RecordReach => "record-reach",
            CheckKind::RecordOverlap => "record-overlap",
            CheckKind::RecordDenied => "record-denied",
            CheckKind::Expectations => "expectations",
            CheckKind::UndefinedSymbols => "undefined-symbols",
            CheckKind::NameClashes => "name-clashes",
            CheckKind::Relocations => "relocations",
            CheckKind::Branches => "branches",
            CheckKind::Hooks => "hooks",
            CheckKind::Tables => "tables",
            CheckKind::Sites => "sites",
            CheckKind::Signature => "signature",
            CheckKind::Provenance => "provenance",
            CheckKind::Objects => "objects",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Pass => "ok  ",
            Verdict::Fail => "FAIL",
            Verdict::NotAsked => "--  ",
        };
        write!(out, "{verdict} {:<18} {}", self.check.name(), self.message)?;
        if let Some(code) = self.errno
            && let Some(errno) = Errno::from_return(code.wrapping_neg())
        {
            write!(out, " [{errno}]")?;
        }
        Ok(())
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(out, "{check}")?;
        }
        if let Some(outlook) = &self.outlook {
            write!(out, "{outlook}")?;
        }
        let loader = match self.loader.refusal() {
            None => "the loader would take it".to_owned(),
            Some((call, code)) => match Errno::from_return(code.wrapping_neg()) {
                Some(errno) => format!("the loader's {call} returns {errno}"),
                None => format!("the loader's {call} fails"),
            },
        };
        let is_trapped = self.failures().any(|check| check.check == CheckKind::Traps);
        let failed = match self.failures().count() {
            0 => return writeln!(out, "{}: {loader}", self.payload),
            1 => "1 check failed".to_owned(),
            count => format!("{count} checks failed"),
        };
        let payload = &self.payload;
        match (self.loader.is_taken(), is_trapped) {
            (false, _) => writeln!(out, "{payload}: {failed}; {loader}"),
            (true, true) => writeln!(
                out,
                "{payload}: {loader}, and the hypervisor would stop or run something else: {failed}"
            ),
            (true, false) => writeln!(
                out,
                "{payload}: {loader}, but it would not have its intended effect: {failed}"
            ),
        }
    }
}

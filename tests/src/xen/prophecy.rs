//! What `xsplice-link verify` foretells of a payload, action by action, so that it can be held
//! against what the hypervisor then does.
//!
//! Verify tells what its loader returns to UPLOAD and to APPLY, and one verdict a check. `--nodeps`
//! leaves one check out: what comes out then is told by the others.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Deserialize;

use super::payload::{DONE, REFUSED, Tools};
use super::process::output_of;
use super::scenario::Foretold;

/// Error numbers of the outlook, which has no checks: Xen's `livepatch_action`.
const EINVAL: i32 = 22;
const EOPNOTSUPP: i32 = 95;

/// The check that `xen-livepatch apply --nodeps` leaves out.
const DEPENDS: &str = "depends";
/// What the loader says of the whole, which stops at the first of the others.
const TRIAL_LOAD: &str = "trial-load";

/// The JSON report of `xsplice-link verify`, as far as it is used.
#[derive(Debug, Clone, Deserialize)]
pub struct Prophecy {
    checks: Vec<Check>,
    loader: Loader,
    outlook: Option<Outlook>,
}

/// The error numbers that the loader itself returns.
#[derive(Debug, Clone, Deserialize)]
struct Loader {
    upload: Option<i32>,
    apply: Option<i32>,
}

#[derive(Debug, Clone, Deserialize)]
struct Check {
    check: String,
    verdict: String,
    errno: Option<i32>,
    message: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Outlook {
    writable: Vec<String>,
    vetoing_hooks: Vec<String>,
}

/// Asks `verify` about `payload` on top of `stack`, the lowest first.
pub fn foretell(tools: &Tools, base: &Path, stack: &[&Path], payload: &Path) -> Result<Prophecy> {
    let mut command = tools.command("xsplice-link");
    command.args(["verify", "--json", "-", "--base"]).arg(base);
    for below in stack {
        command.arg("--stack").arg(below);
    }
    let result = output_of(command.arg(payload))?;
    match (result.status.code(), serde_json::from_slice(&result.stdout)) {
        (Some(DONE | REFUSED), Ok(prophecy)) => Ok(prophecy),
        (_, report) => bail!(
            "{}: verify could not run: {}: {}{}",
            payload.display(),
            result.status,
            String::from_utf8_lossy(&result.stderr).trim(),
            report
                .err()
                .map(|error| format!("; no report: {error}"))
                .unwrap_or_default()
        ),
    }
}

impl Prophecy {
    /// The failed checks that are asked; what has no error number is wrong and nothing that a
    /// loader would notice.
    fn failed(&self, asked: impl Fn(&str) -> bool) -> Vec<&Check> {
        self.checks
            .iter()
            .filter(|check| check.verdict == "fail" && check.errno.is_some())
            .filter(|check| asked(&check.check))
            .collect()
    }

    /// What the loader answers, with the reasons of the checks.
    fn answer(&self, errno: Option<i32>) -> Foretold {
        match errno {
            None => Foretold::Takes,
            Some(errno) => Foretold::Refuses {
                why: said(&self.failed(|_| true)),
                errnos: vec![errno],
            },
        }
    }

    /// Whether a check says that something is wrong.
    pub fn fails(&self, name: &str) -> bool {
        let mut checks = self.checks.iter();
        checks.any(|check| check.check == name && check.verdict == "fail")
    }

    /// Of its upload.
    pub fn upload(&self) -> Foretold {
        self.answer(self.loader.upload)
    }

    /// Of applying it for the first time.
    pub fn apply(&self) -> Foretold {
        self.answer(self.loader.upload.or(self.loader.apply))
    }

    /// Of applying it with `--nodeps`, which the loader was not asked.
    pub fn apply_nodeps(&self) -> Foretold {
        let failed = self.failed(|check| ![DEPENDS, TRIAL_LOAD].contains(&check));
        if failed.is_empty() {
            return Foretold::Takes;
        }
        Foretold::Refuses {
            why: said(&failed),
            errnos: failed.iter().filter_map(|check| check.errno).collect(),
        }
    }

    /// Of applying it again after a revert, without a new upload.
    pub fn apply_again(&self) -> Foretold {
        let writable = self.outlook.iter().flat_map(|outlook| &outlook.writable);
        self.unless("has data of its own", writable, EINVAL)
    }

    /// Of putting it in the place of all that is applied.
    pub fn replace(&self) -> Foretold {
        let hooks = self
            .outlook
            .iter()
            .flat_map(|outlook| &outlook.vetoing_hooks);
        self.unless("has hooks that may veto", hooks, EOPNOTSUPP)
    }

    fn unless<'a>(
        &self,
        what: &str,
        reasons: impl Iterator<Item = &'a String>,
        errno: i32,
    ) -> Foretold {
        let reasons: Vec<&str> = reasons.map(String::as_str).collect();
        if reasons.is_empty() {
            return self.apply();
        }
        Foretold::Refuses {
            why: format!("{what}: {}", reasons.join(", ")),
            errnos: vec![errno],
        }
    }
}

fn said(failed: &[&Check]) -> String {
    let lines: Vec<String> = failed
        .iter()
        .map(|check| format!("{}: {}", check.check, check.message))
        .collect();
    lines.join(" / ")
}

#[cfg(test)]
mod tests {
    use super::{EINVAL, Foretold, Prophecy};

    fn prophecy(checks: &str, writable: &str) -> Prophecy {
        let apply = if checks.is_empty() { "null" } else { "22" };
        let text = format!(
            r#"{{"payload":"p","checks":[{checks}],"loader":{{"upload":null,"apply":{apply}}},
                "outlook":{{"writable":[{writable}],"vetoing_hooks":[],"state":[],"escapes":[]}}}}"#
        );
        serde_json::from_str(&text).expect("a report of verify")
    }

    const DEPENDS_FAILS: &str =
        r#"{"check":"depends","verdict":"fail","errno":22,"message":"not on top"}"#;

    #[test]
    fn what_only_the_stack_is_wrong_for_can_be_uploaded_and_forced() {
        let early = prophecy(DEPENDS_FAILS, "");
        assert_eq!(early.upload(), Foretold::Takes);
        assert_eq!(early.apply_nodeps(), Foretold::Takes);
        let Foretold::Refuses { errnos, .. } = early.apply() else {
            panic!("{early:?}");
        };
        assert_eq!(errnos, [EINVAL]);
    }

    #[test]
    fn data_of_its_own_stands_against_a_second_time_alone() {
        let counting = prophecy("", r#"".data""#);
        assert_eq!(counting.apply(), Foretold::Takes);
        assert!(matches!(counting.apply_again(), Foretold::Refuses { .. }));
        assert_eq!(prophecy("", "").apply_again(), Foretold::Takes);
    }
}

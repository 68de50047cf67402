//! Xen's own test payloads, as `make tests` in its tree builds them: nothing of ours is in them, so
//! they show whether `inspect` and `verify` know the format or only what we write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::build::Tree;
use super::life::{FAILED, INVALID, act, act_again, gone, listed, upload};
use super::payload::Tools;
use super::platform::Platform;
use super::prophecy::{Prophecy, foretell};
use super::release::Release;
use super::scenario::{Placed, Scenario, Step, Text};

const EXTRA: &str = "cat /sys/hypervisor/version/extra";
const HELLO: &str = "xen_hello_world";
const BYE: &str = "xen_bye_world";
const REPLACE: &str = "xen_replace_world";
const NO_XEN_ID: &str = "xen_no_xen_buildid";
/// It expects what its function holds.
pub const EXPECTING: &str = "xen_expectations";
/// It expects something else.
pub const UNEXPECTED: &str = "xen_expectations_fail";
/// Its apply hook fails.
pub const NO_APPLY: &str = "xen_action_hooks_noapply";
/// Its revert hook fails.
pub const NO_REVERT: &str = "xen_action_hooks_norevert";

fn extra(words: &str) -> Step {
    Step::new(format!("extra version {words:?}"), EXTRA).says(Text::Output(words.to_owned()))
}

fn refused(step: Step) -> Step {
    step.exits(FAILED).says(Text::Output(INVALID.to_owned()))
}

/// Payloads that apply, change the extra version to the words given, and revert.
const PLAIN: [(&str, &str); 2] = [
    (EXPECTING, "Hello World"),
    ("xen_action_hooks_marker", "Hello World"),
];

/// Those that replace no function.
const UNSEEN: [&str; 2] = ["xen_action_hooks", "xen_action_hooks_nofunc"];

/// The payload that overwrites all but the last byte of a function which, in a build with return
/// thunks, ends in a jump of five bytes: what is left of the jump crashes this Xen.
const CRASHING: &str = "xen_nop";

/// How often it is applied at most.
const TRIES: u32 = 20;

/// Makes scenarios of the payloads of one build.
struct InTree<'a> {
    tools: &'a Tools,
    original: &'a Tree,
    release: &'static Release,
}

impl InTree<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.original
            .directory
            .join("test/livepatch")
            .join(format!("{name}.livepatch"))
    }

    fn foretell(&self, stack: &[&Path], name: &str) -> Result<Prophecy> {
        foretell(
            self.tools,
            &self.original.symbols(),
            stack,
            &self.path(name),
        )
    }

    fn scenario(
        &self,
        name: &str,
        expected: &str,
        payloads: &[&str],
        steps: Vec<Step>,
    ) -> Scenario {
        Scenario {
            name: format!("in-tree {name}"),
            expected: expected.to_owned(),
            payloads: payloads
                .iter()
                .map(|name| Placed {
                    name: (*name).to_owned(),
                    path: self.path(name),
                })
                .collect(),
            steps,
        }
    }
}

/// The scenarios; `verify` is asked about every payload before it meets the hypervisor.
///
/// `xen_nop` is not among them where it kills: see [`crash`].
pub fn scenarios(tools: &Tools, original: &Tree, platform: &Platform) -> Result<Vec<Scenario>> {
    let release = platform.release;
    let suite = InTree {
        tools,
        original,
        release,
    };
    let mut scenarios = vec![hello(&suite)?];
    scenarios.extend(refusals(&suite)?);
    scenarios.extend(hooks(&suite)?);
    if !platform.dies_of_nop {
        scenarios.push(no_operations(&suite)?);
    }
    let unseen = UNSEEN.map(|name| (name, release.extra));
    let mislinked = release.mislinked.iter();
    let mislinked = mislinked.map(|name| (*name, "Hello World"));
    for (name, words) in PLAIN.into_iter().chain(unseen).chain(mislinked) {
        scenarios.push(match release.refused.contains(&name) {
            true => not_taken(&suite, name)?,
            false => plain(&suite, name, words)?,
        });
    }
    let met = |file: &Path| {
        let mut placed = scenarios.iter().flat_map(|scenario| &scenario.payloads);
        file == suite.path(CRASHING) || placed.any(|placed| placed.path == file)
    };
    for file in payloads(original)? {
        ensure!(met(&file), "{}: no scenario loads it", file.display());
    }
    Ok(scenarios)
}

/// A payload by itself, applied and reverted.
fn plain(suite: &InTree<'_>, name: &str, words: &str) -> Result<Scenario> {
    let prophecy = suite.foretell(&[], name)?;
    Ok(suite.scenario(
        name.trim_start_matches("xen_"),
        "applied, reverted, then as verify said",
        &[name],
        vec![
            upload(name).foretold(&prophecy.upload()),
            act("apply", name).foretold(&prophecy.apply()),
            extra(words),
            act("revert", name),
            extra(suite.release.extra),
            act_again(name, &prophecy),
        ],
    ))
}

/// A payload that ends with its upload.
fn not_taken(suite: &InTree<'_>, name: &str) -> Result<Scenario> {
    let prophecy = suite.foretell(&[], name)?;
    Ok(suite.scenario(
        name.trim_start_matches("xen_"),
        "upload refused, and verify said so",
        &[name],
        vec![
            refused(upload(name)).foretold(&prophecy.upload()),
            gone(name),
        ],
    ))
}

fn hello(suite: &InTree<'_>) -> Result<Scenario> {
    let takes = suite.foretell(&[], HELLO)?;
    let on_hello = suite.foretell(&[&suite.path(HELLO)], BYE)?;
    let replace = suite.foretell(&[], REPLACE)?;
    Ok(suite.scenario(
        "hello, bye, replace",
        "each seen; replace reverts both",
        &[HELLO, BYE, REPLACE],
        vec![
            upload(HELLO).foretold(&takes.upload()),
            act("apply", HELLO).foretold(&takes.apply()),
            extra("Hello World"),
            upload(BYE).foretold(&on_hello.upload()),
            act("apply", BYE).foretold(&on_hello.apply()),
            extra("Bye World"),
            upload(REPLACE).foretold(&replace.upload()),
            act("replace", REPLACE).foretold(&replace.replace()),
            extra("Hello Again"),
            listed(HELLO, "CHECKED"),
            act("revert", REPLACE),
            extra(suite.release.extra),
            act_again(HELLO, &takes),
        ],
    ))
}

fn refusals(suite: &InTree<'_>) -> Result<Vec<Scenario>> {
    let early = suite.foretell(&[], BYE)?;
    let unexpected = suite.foretell(&[], UNEXPECTED)?;
    Ok(vec![
        suite.scenario(
            "bye alone",
            "refused, and verify said so",
            &[BYE],
            vec![
                upload(BYE).foretold(&early.upload()),
                refused(act("apply", BYE)).foretold(&early.apply()),
                extra(suite.release.extra),
            ],
        ),
        not_taken(suite, NO_XEN_ID)?,
        match suite.release.refused.contains(&UNEXPECTED) {
            true => not_taken(suite, UNEXPECTED)?,
            false => suite.scenario(
                "expectations fail",
                "apply refused, and verify said so",
                &[UNEXPECTED],
                vec![
                    upload(UNEXPECTED).foretold(&unexpected.upload()),
                    refused(act("apply", UNEXPECTED)).foretold(&unexpected.apply()),
                    listed(UNEXPECTED, "CHECKED"),
                    extra(suite.release.extra),
                ],
            ),
        },
    ])
}

/// The payload that writes NOPs over all but the end of a function.
fn no_operations(suite: &InTree<'_>) -> Result<Scenario> {
    const MINOR: &str = "cat /sys/hypervisor/version/minor";
    let prophecy = suite.foretell(&[], CRASHING)?;
    let sees = |what: &str, text| Step::new(what, MINOR).says(text);
    let number = || suite.release.minor.to_owned();
    Ok(suite.scenario(
        "nop",
        "the instruction that gives the number is gone, and comes back",
        &[CRASHING],
        vec![
            upload(CRASHING).foretold(&prophecy.upload()),
            sees("minor version", Text::Output(number())),
            act("apply", CRASHING).foretold(&prophecy.apply()),
            sees("no minor version", Text::OutputLacks(number())),
            act("revert", CRASHING),
            sees("minor version again", Text::Output(number())),
        ],
    ))
}

/// What a hook decides while it runs is beyond any prophecy; that the payload is taken is not.
fn hooks(suite: &InTree<'_>) -> Result<Vec<Scenario>> {
    let loaded = |name: &str| -> Result<(Step, Prophecy)> {
        let prophecy = suite.foretell(&[], name)?;
        Ok((upload(name).foretold(&prophecy.upload()), prophecy))
    };
    let (prepost, prepost_taken) = loaded("xen_prepost_hooks")?;
    let (fails, _) = loaded("xen_prepost_hooks_fail")?;
    let mut scenarios = vec![
        suite.scenario(
            "prepost hooks",
            "first revert vetoed",
            &["xen_prepost_hooks"],
            vec![
                prepost,
                act("apply", "xen_prepost_hooks").foretold(&prepost_taken.apply()),
                extra("Hello World"),
                act("revert", "xen_prepost_hooks").exits(FAILED),
                extra("Hello World"),
                act("revert", "xen_prepost_hooks"),
                extra(suite.release.extra),
            ],
        ),
        suite.scenario(
            "prepost hooks fail",
            "apply vetoed by its hook",
            &["xen_prepost_hooks_fail"],
            vec![
                fails,
                refused(act("apply", "xen_prepost_hooks_fail")),
                extra(suite.release.extra),
            ],
        ),
    ];
    if !suite.release.mislinked.contains(&NO_APPLY) {
        let (taken, _) = loaded(NO_APPLY)?;
        scenarios.push(suite.scenario(
            "action hooks, apply fails",
            "apply refused by its hook",
            &[NO_APPLY],
            vec![
                taken,
                refused(act("apply", NO_APPLY)),
                extra(suite.release.extra),
            ],
        ));
    }
    if !suite.release.mislinked.contains(&NO_REVERT) {
        let (taken, prophecy) = loaded(NO_REVERT)?;
        scenarios.push(suite.scenario(
            "action hooks, revert fails",
            "revert fails, the hook behind it reverts",
            &[NO_REVERT],
            vec![
                taken,
                act("apply", NO_REVERT).foretold(&prophecy.apply()),
                extra("Hello World"),
                act("revert", NO_REVERT).exits(FAILED),
                extra(suite.release.extra),
            ],
        ));
    }
    Ok(scenarios)
}

/// The scenario that ends with the hypervisor's death. Its last step is
/// the one that kills.
pub fn crash(tools: &Tools, original: &Tree, platform: &Platform) -> Scenario {
    let suite = InTree {
        tools,
        original,
        release: platform.release,
    };
    suite.scenario(
        CRASHING,
        "crashes this Xen; the guest is killed at once",
        &[CRASHING],
        vec![
            upload(CRASHING),
            // A busy host lets Xen give up, and the step never ends: the guest itself asks again.
            Step::new(
                "apply, then call what was overwritten",
                format!(
                    "tries=0; \
                     until xen-livepatch apply {CRASHING} || [ $tries = {TRIES} ]; \
                     do tries=$((tries + 1)); done; cat /sys/hypervisor/version/minor"
                ),
            ),
        ],
    )
}

/// The files `inspect` is asked to read.
pub fn payloads(original: &Tree) -> Result<Vec<PathBuf>> {
    let folder = original.directory.join("test/livepatch");
    let mut found: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "livepatch"))
        .collect();
    found.sort();
    Ok(found)
}

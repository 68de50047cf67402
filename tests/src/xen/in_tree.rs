//! Xen's own test payloads, as `make tests` in its tree builds them: nothing of ours is in them, so
//! they show whether `inspect` and `verify` know the format or only what we write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::build::Tree;
use super::life::{FAILED, INVALID, act, listed, upload};
use super::payload::Tools;
use super::scenario::{Placed, Scenario, Step, Text};

const EXTRA: &str = "cat /sys/hypervisor/version/extra";
const HELLO: &str = "xen_hello_world";

fn extra(words: &str) -> Step {
    Step::new(format!("extra version {words:?}"), EXTRA).says(Text::Output(words.to_owned()))
}

fn refused(step: Step) -> Step {
    step.exits(FAILED).says(Text::Output(INVALID.to_owned()))
}

/// The payloads that apply, change the extra version to the words given, and revert.
const PLAIN: [(&str, &str); 4] = [
    ("xen_expectations", "Hello World"),
    ("xen_action_hooks_marker", "Hello World"),
    ("xen_action_hooks", ".5"),
    ("xen_action_hooks_nofunc", ".5"),
];

/// The scenarios; `verify` is asked about every payload before it meets the hypervisor.
///
/// `xen_nop` is left out: it overwrites all but the last byte of a function that, in a build
/// with return thunks, ends in a jump of five bytes (`reference/real-xen.md` §3).
pub fn scenarios(tools: &Tools, original: &Tree) -> Result<Vec<Scenario>> {
    let folder = original.directory.join("test/livepatch");
    let path = |name: &str| folder.join(format!("{name}.livepatch"));
    let foretell =
        |stack: &[&Path], name: &str| tools.foretell(&original.symbols(), stack, &path(name));
    let scenario = |name: &str, expected: &str, payloads: &[&str], steps: Vec<Step>| Scenario {
        name: format!("in-tree {name}"),
        expected: expected.to_owned(),
        payloads: payloads
            .iter()
            .map(|name| Placed {
                name: (*name).to_owned(),
                path: path(name),
            })
            .collect(),
        steps,
    };
    let hello = path(HELLO);
    let takes = foretell(&[], HELLO)?;
    let on_hello = foretell(&[&hello], "xen_bye_world")?;
    let too_early = foretell(&[], "xen_bye_world")?;
    let replace = foretell(&[], "xen_replace_world")?;
    let mut scenarios = vec![
        scenario(
            "hello, bye, replace",
            "each seen; replace reverts both",
            &[HELLO, "xen_bye_world", "xen_replace_world"],
            vec![
                upload(HELLO).foretold(&takes),
                act("apply", HELLO).foretold(&takes),
                extra("Hello World"),
                upload("xen_bye_world"),
                act("apply", "xen_bye_world").foretold(&on_hello),
                extra("Bye World"),
                upload("xen_replace_world").foretold(&replace),
                act("replace", "xen_replace_world").foretold(&replace),
                extra("Hello Again"),
                listed(HELLO, "CHECKED"),
                act("revert", "xen_replace_world"),
                extra(".5"),
            ],
        ),
        scenario(
            "bye alone",
            "refused, and verify said so",
            &["xen_bye_world"],
            vec![
                upload("xen_bye_world"),
                refused(act("apply", "xen_bye_world")).foretold(&too_early),
                extra(".5"),
            ],
        ),
        scenario(
            "no xen_depends",
            "upload refused, and verify said so",
            &["xen_no_xen_buildid"],
            vec![
                refused(upload("xen_no_xen_buildid"))
                    .foretold(&foretell(&[], "xen_no_xen_buildid")?),
            ],
        ),
        scenario(
            "expectations fail",
            "apply refused, and verify said so",
            &["xen_expectations_fail"],
            vec![
                upload("xen_expectations_fail"),
                refused(act("apply", "xen_expectations_fail"))
                    .foretold(&foretell(&[], "xen_expectations_fail")?),
                extra(".5"),
            ],
        ),
        scenario(
            "prepost hooks",
            "first revert vetoed",
            &["xen_prepost_hooks"],
            vec![
                upload("xen_prepost_hooks").foretold(&foretell(&[], "xen_prepost_hooks")?),
                act("apply", "xen_prepost_hooks"),
                extra("Hello World"),
                act("revert", "xen_prepost_hooks").exits(FAILED),
                extra("Hello World"),
                act("revert", "xen_prepost_hooks"),
                extra(".5"),
            ],
        ),
        scenario(
            "prepost hooks fail",
            "apply vetoed by its hook",
            &["xen_prepost_hooks_fail"],
            vec![
                upload("xen_prepost_hooks_fail")
                    .foretold(&foretell(&[], "xen_prepost_hooks_fail")?),
                refused(act("apply", "xen_prepost_hooks_fail")),
                extra(".5"),
            ],
        ),
        scenario(
            "action hooks, apply fails",
            "apply refused by its hook",
            &["xen_action_hooks_noapply"],
            vec![
                upload("xen_action_hooks_noapply")
                    .foretold(&foretell(&[], "xen_action_hooks_noapply")?),
                refused(act("apply", "xen_action_hooks_noapply")),
                extra(".5"),
            ],
        ),
        scenario(
            "action hooks, revert fails",
            "revert fails, the hook behind it reverts",
            &["xen_action_hooks_norevert"],
            vec![
                upload("xen_action_hooks_norevert")
                    .foretold(&foretell(&[], "xen_action_hooks_norevert")?),
                act("apply", "xen_action_hooks_norevert"),
                extra("Hello World"),
                act("revert", "xen_action_hooks_norevert").exits(FAILED),
                extra(".5"),
            ],
        ),
    ];
    for (name, words) in PLAIN {
        let takes = foretell(&[], name)?;
        scenarios.push(scenario(
            name.trim_start_matches("xen_"),
            "applied and reverted",
            &[name],
            vec![
                upload(name).foretold(&takes),
                act("apply", name).foretold(&takes),
                extra(words),
                act("revert", name),
                extra(".5"),
            ],
        ));
    }
    Ok(scenarios)
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

//! The scenarios in which payloads meet: on top of each other, in the wrong order, replaced, and
//! all at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::Tree;
use super::change::{Change, Course};
use super::life::{
    BUSY, Code, EXISTS, FAILED, INVALID, TRY_AGAIN, UNSUPPORTED, act, gone, listed, looks, upload,
};
use super::payload::{Said, Stacking, Tools};
use super::process::run_quiet;
use super::prophecy::{Prophecy, foretell};
use super::scenario::{Placed, Retry, Scenario, Step, Text};

/// Makes the payloads of the scenarios with several payloads, and those scenarios.
#[derive(Debug)]
pub struct Stacks<'a> {
    /// The tools under test.
    pub tools: &'a Tools,
    /// The original build.
    pub original: &'a Tree,
    /// Where the payloads go.
    pub folder: &'a Path,
    /// The tree of each change, by name.
    pub trees: &'a HashMap<&'static str, Tree>,
}

impl Stacks<'_> {
    fn make(&self, file: &str, change: &str, stacking: &Stacking) -> Result<PathBuf> {
        let path = self.folder.join(format!("{file}.livepatch"));
        let patched = self
            .trees
            .get(change)
            .with_context(|| format!("{change} was not built"))?;
        let said = self
            .tools
            .build(file, self.original, patched, &path, stacking)?;
        ensure!(matches!(said, Said::Payload(_)), "{file}: {said:?}");
        Ok(path)
    }

    fn foretell(&self, stack: &[&Path], payload: &Path) -> Result<Prophecy> {
        foretell(self.tools, &self.original.symbols(), stack, payload)
    }

    /// The scenarios of two and three payloads. `vetoing` has hooks that may veto.
    pub fn scenarios(
        &self,
        changes: [&'static Change; 3],
        vetoing: &'static Change,
    ) -> Result<Vec<Scenario>> {
        let [lower, upper, alone] = changes;
        let lower_path = self.make("stack-lower", lower.name, &Stacking::default())?;
        let on_lower = Stacking {
            depends: Some(lower_path.display().to_string()),
            ..Stacking::default()
        };
        let upper_path = self.make("stack-upper", upper.name, &on_lower)?;
        let alone_path = self.make("stack-alone", alone.name, &Stacking::default())?;
        let foreign = Stacking {
            xen_depends: Some("00112233445566778899aabbccddeeff00112233".to_owned()),
            ..Stacking::default()
        };
        let foreign_path = self.make("stack-foreign", lower.name, &foreign)?;
        let vetoing_path = self.make("stack-vetoing", vetoing.name, &Stacking::default())?;
        let place = |name: &str, path: &Path| Placed {
            name: name.to_owned(),
            path: path.to_owned(),
        };
        let pair = vec![place("lower", &lower_path), place("upper", &upper_path)];

        let bottom = self.foretell(&[], &lower_path)?;
        let top = self.foretell(&[&lower_path], &upper_path)?;
        let mut steps = vec![
            upload("lower").foretold(&bottom.upload()),
            upload("upper").foretold(&top.upload()),
            act("apply", "lower").foretold(&bottom.apply()),
            act("apply", "upper").foretold(&top.apply()),
            listed("lower", "APPLIED"),
            listed("upper", "APPLIED"),
        ];
        steps.extend(looks(lower, Code::Patched));
        steps.extend(looks(upper, Code::Patched));
        let mut busy = act("revert", "lower")
            .exits(TRY_AGAIN)
            .says(Text::Output(BUSY.to_owned()))
            .says(Text::Console("Top is upper".to_owned()));
        busy.retry = Retry::Never;
        steps.push(busy);
        steps.push(act("revert", "upper"));
        steps.extend(looks(lower, Code::Patched));
        steps.extend(looks(upper, Code::Unpatched));
        steps.push(act("revert", "lower"));
        steps.extend(looks(lower, Code::Unpatched));
        let stacking = Scenario {
            name: "stacking".to_owned(),
            expected: "upper on lower; lower cannot go first".to_owned(),
            payloads: pair.clone(),
            steps,
        };

        let early = self.foretell(&[], &upper_path)?;
        let wrong_order = Scenario {
            name: "wrong-order".to_owned(),
            expected: "upper without lower: refused, and verify said so".to_owned(),
            payloads: pair.clone(),
            steps: [
                vec![
                    upload("upper").foretold(&early.upload()),
                    act("apply", "upper")
                        .exits(FAILED)
                        .says(Text::Output(INVALID.to_owned()))
                        .says(Text::Console("build-id failed".to_owned()))
                        .foretold(&early.apply()),
                    listed("upper", "CHECKED"),
                ],
                looks(upper, Code::Unpatched),
            ]
            .concat(),
        };

        let mut nodeps = vec![
            upload("upper").foretold(&early.upload()),
            Step::new("apply --nodeps upper", "xen-livepatch apply upper --nodeps")
                .retried()
                .foretold(&early.apply_nodeps()),
        ];
        nodeps.extend(looks(upper, Code::Patched));
        nodeps.push(act("revert", "upper"));
        nodeps.extend(looks(upper, Code::Unpatched));
        let nodeps = Scenario {
            name: "nodeps".to_owned(),
            expected: "upper without lower but with --nodeps: applied".to_owned(),
            payloads: pair.clone(),
            steps: nodeps,
        };

        let foreign_step = upload("foreign")
            .exits(FAILED)
            .says(Text::Output(INVALID.to_owned()))
            .foretold(&self.foretell(&[], &foreign_path)?.upload());
        let wrong_base = Scenario {
            name: "wrong-build-id".to_owned(),
            expected: "for another hypervisor: upload refused, and verify said so".to_owned(),
            payloads: vec![place("foreign", &foreign_path)],
            steps: vec![foreign_step, gone("foreign")],
        };

        let twice = Scenario {
            name: "same-twice".to_owned(),
            expected: "one payload under two names: refused, and verify said so".to_owned(),
            payloads: vec![place("lower", &lower_path), place("again", &lower_path)],
            steps: vec![
                upload("lower").foretold(&bottom.upload()),
                upload("again")
                    .exits(FAILED)
                    .says(Text::Output(EXISTS.to_owned()))
                    .foretold(&self.foretell(&[&lower_path], &lower_path)?.upload()),
                gone("again"),
            ],
        };

        let single = self.foretell(&[], &alone_path)?;
        let mut replace = vec![
            upload("lower").foretold(&bottom.upload()),
            upload("upper").foretold(&top.upload()),
            upload("alone").foretold(&single.upload()),
            act("apply", "lower").foretold(&bottom.apply()),
            act("apply", "upper").foretold(&top.apply()),
            act("replace", "alone").foretold(&single.replace()),
            listed("alone", "APPLIED"),
            listed("lower", "CHECKED"),
            listed("upper", "CHECKED"),
        ];
        replace.extend(looks(alone, Code::Patched));
        replace.extend(looks(lower, Code::Unpatched));
        replace.extend(looks(upper, Code::Unpatched));
        replace.push(act("revert", "alone"));
        replace.extend(looks(alone, Code::Unpatched));
        let replace = Scenario {
            name: "replace".to_owned(),
            expected: "two payloads replaced by a third".to_owned(),
            payloads: [pair, vec![place("alone", &alone_path)]].concat(),
            steps: replace,
        };

        let hooked = self.foretell(&[], &vetoing_path)?;
        let mut veto = vec![
            upload("lower").foretold(&bottom.upload()),
            upload("vetoing").foretold(&hooked.upload()),
            act("apply", "lower").foretold(&bottom.apply()),
            act("replace", "vetoing")
                .exits(FAILED)
                .says(Text::Output(UNSUPPORTED.to_owned()))
                .foretold(&hooked.replace()),
            listed("lower", "APPLIED"),
        ];
        veto.extend(looks(lower, Code::Patched));
        veto.extend(looks(vetoing, Code::Unpatched));
        veto.push(act("revert", "lower"));
        let replace_vetoing = Scenario {
            name: "replace-with-hooks".to_owned(),
            expected: "by a payload that may veto: refused, and verify said so".to_owned(),
            payloads: vec![place("lower", &lower_path), place("vetoing", &vetoing_path)],
            steps: veto,
        };
        Ok(vec![
            stacking,
            wrong_order,
            nodeps,
            wrong_base,
            twice,
            replace,
            replace_vetoing,
        ])
    }

    /// A signed payload: Xen reads the ELF file and does not mind the signature behind it.
    pub fn signed(&self, change: &'static Change) -> Result<Scenario> {
        let plain = self.make("plain", change.name, &Stacking::default())?;
        let [key, certificate, signed] =
            ["key.pem", "cert.pem", "signed.livepatch"].map(|name| self.folder.join(name));
        run_quiet(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "rsa:3072", "-nodes"])
                .args(["-subj", "/CN=make xen", "-keyout"])
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        )?;
        run_quiet(
            self.tools
                .command("xsplice-link")
                .args(["sign", "--key"])
                .arg(&key)
                .arg("--cert")
                .arg(&certificate)
                .arg("-o")
                .arg(&signed)
                .arg(&plain),
        )?;
        let prophecy = self.foretell(&[], &signed)?;
        let mut steps = vec![
            upload("signed").foretold(&prophecy.upload()),
            act("apply", "signed").foretold(&prophecy.apply()),
        ];
        steps.extend(looks(change, Code::Patched));
        steps.push(act("revert", "signed"));
        steps.extend(looks(change, Code::Unpatched));
        Ok(Scenario {
            name: "signed".to_owned(),
            expected: "a payload with a signature behind it: applied".to_owned(),
            payloads: vec![Placed {
                name: "signed".to_owned(),
                path: signed,
            }],
            steps,
        })
    }

    /// Every loadable change on top of the one before it.
    pub fn all_at_once(&self, changes: &[&'static Change]) -> Result<Scenario> {
        let mut payloads: Vec<Placed> = Vec::new();
        let mut steps = Vec::new();
        for change in changes {
            let file = format!("all-{:02}-{}", payloads.len() + 1, change.name);
            let stacking = Stacking {
                depends: payloads
                    .last()
                    .map(|below| below.path.display().to_string()),
                ..Stacking::default()
            };
            let path = self.make(&file, change.name, &stacking)?;
            let below: Vec<&Path> = payloads
                .iter()
                .map(|placed| placed.path.as_path())
                .collect();
            let foretold = self.foretell(&below, &path)?;
            steps.push(upload(&file).foretold(&foretold.upload()));
            if change.course == Course::VetoedFirst {
                steps.push(act("apply", &file).exits(FAILED));
            }
            steps.push(act("apply", &file).foretold(&foretold.apply()));
            payloads.push(Placed { name: file, path });
        }
        for change in changes {
            steps.extend(looks(change, Code::Patched));
        }
        for (change, placed) in changes.iter().zip(&payloads).rev() {
            if change.course == Course::VetoedFirst {
                steps.push(act("revert", &placed.name).exits(FAILED));
            }
            steps.push(act("revert", &placed.name));
            steps.extend(looks(change, Code::Unpatched));
        }
        Ok(Scenario {
            name: "all-at-once".to_owned(),
            expected: format!("{} payloads stand on each other", payloads.len()),
            payloads,
            steps,
        })
    }
}

//! `xsplice-link link`.

use std::path::{Path, PathBuf};

use xsplice_console::output::Given;

use super::{ExitStatus, LinkArguments};
use crate::base::Base;
use crate::build_id::BuildId;
use crate::command::report::{LINK, LinkInputs, LinkReport, shown};
use crate::command::{input, output};
use crate::error::{LinkError, Refusal};
use crate::link::{Payload, link};
use crate::options::{BaseProof, LinkOptions, References, StacksOn};
use crate::verify::{self, Against, NamedFile, Verification};

pub(super) fn run(arguments: &LinkArguments) -> Result<ExitStatus, LinkError> {
    let outputs = [Some(&arguments.output), arguments.json.as_ref()];
    output::check_writable(outputs.into_iter().flatten().map(PathBuf::as_path))?;
    check_apart(arguments)?;
    let base_file = input::open(&arguments.base)?;
    let base = Base::parse(&arguments.base.display().to_string(), &base_file)?;
    let files = arguments
        .extracts
        .iter()
        .map(|path| input::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let extracts = files
        .iter()
        .map(|file| {
            xsplice_diff::extract::read(file).map_err(|source| LinkError::Extract {
                path: file.path().display().to_string(),
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = options(arguments, &base)?;
    let (payload, refusals) = match link(&base, &extracts, &options) {
        Ok(payload) => {
            // What `verify` would refuse is not written.
            let verification = verified(arguments, &base, &options, &payload)?;
            match verify::refusals(&verification, &options) {
                failed if failed.is_empty() => (Some(payload), failed),
                failed => (None, failed),
            }
        }
        Err(LinkError::Refused(refusals)) => (None, refusals.0),
        Err(error) => return Err(error),
    };
    if let Some(payload) = &payload {
        output::write_file(&arguments.output, &payload.bytes)?;
    }
    for refusal in &refusals {
        output::complain(&format!("{refusal}\n"))?;
    }
    let status = match payload {
        Some(_) => ExitStatus::Done,
        None => ExitStatus::Refused,
    };
    if let Some(payload) = &payload {
        let told = format!(
            "{}: {} bytes, replaces {}, passes verify, build-id {}\n",
            arguments.output.display(),
            payload.bytes.len(),
            functions(payload.records.len()),
            payload.build_id
        );
        output::tell(arguments.json.as_deref(), &told)?;
    }
    if let Some(target) = &arguments.json {
        let report = report(arguments, payload.as_ref(), refusals);
        output::write_json(target, LINK, &report)?;
    }
    Ok(status)
}

/// Runs `verify` on what was linked.
fn verified(
    arguments: &LinkArguments,
    base: &Base<'_>,
    options: &LinkOptions,
    payload: &Payload,
) -> Result<Verification, LinkError> {
    let below = match (&options.stacks_on, &arguments.depends) {
        (StacksOn::Payload(_), Some(text)) => Some((text, input::open(Path::new(text))?)),
        _ => None,
    };
    let stack: Vec<NamedFile<'_>> = below
        .iter()
        .map(|(path, bytes)| NamedFile { path, bytes })
        .collect();
    let written = NamedFile {
        path: &shown(&arguments.output),
        bytes: &payload.bytes,
    };
    let against = Against {
        base,
        stack: &stack,
        deny: &[],
        signer: None,
    };
    verify::verify(written, against)
}

/// No output may be an input.
fn check_apart(arguments: &LinkArguments) -> Result<(), LinkError> {
    let outputs = [
        Given::by("--output", Some(&arguments.output)),
        Given::by("--json", arguments.json.as_ref()),
    ];
    let named = [&arguments.depends, &arguments.xen_depends].map(|text| text.as_ref());
    let named = named.map(|text| text.map(PathBuf::from));
    let mut inputs = vec![Given::by("--base", Some(&arguments.base))];
    inputs.push(Given::by("--depends", named[0].as_ref()));
    inputs.push(Given::by("--xen-depends", named[1].as_ref()));
    let extracts = arguments.extracts.iter();
    inputs.extend(extracts.map(|path| Given::by("EXTRACT", Some(path))));
    let inputs: Vec<_> = inputs.into_iter().flatten().collect();
    let outputs: Vec<_> = outputs.into_iter().flatten().collect();
    output::check_apart(&outputs, &inputs)
}

fn report(
    arguments: &LinkArguments,
    payload: Option<&Payload>,
    refusals: Vec<Refusal>,
) -> LinkReport {
    LinkReport {
        inputs: LinkInputs {
            base: shown(&arguments.base),
            extracts: arguments.extracts.iter().map(|path| shown(path)).collect(),
        },
        refusals,
        payload: payload.map(|payload| payload.summary(&arguments.output)),
    }
}

fn options(arguments: &LinkArguments, base: &Base<'_>) -> Result<LinkOptions, LinkError> {
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => name_of(&arguments.output),
    };
    let mut options = LinkOptions::new(&name, arguments.abi.0);
    if arguments.prelink {
        options.references = References::Prelinked;
    }
    if arguments.no_base_proof {
        options.proof = BaseProof::Skipped;
    }
    if let Some(text) = &arguments.xen_depends {
        options.base_id = Some(BuildId::from_argument(text, input::open_named)?);
    }
    if let Some(text) = &arguments.depends {
        let made_for = options.base_id.as_ref().unwrap_or(base.build_id());
        options.stacks_on = StacksOn::from_argument(text, base, made_for, input::open_named)?;
    }
    options.exports.clone_from(&arguments.exports);
    if let Some(version) = &arguments.tool_version {
        options.tool_version.clone_from(version);
    }
    Ok(options)
}

/// `1 function`, `2 functions`.
fn functions(number: usize) -> String {
    match number {
        1 => "1 function".to_owned(),
        more => format!("{more} functions"),
    }
}

fn name_of(output: &Path) -> String {
    output
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

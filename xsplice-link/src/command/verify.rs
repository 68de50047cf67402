//! `xsplice-link verify`.

use std::path::Path;

use xsplice_console::tree::{Tree, digest_of, digest_of_file};

use super::{ExitStatus, VerifyArguments};
use crate::base::Base;
use crate::command::report::{VERIFY, VerifyInputs, VerifyReport, shown};
use crate::command::{input, objects, output};
use crate::error::LinkError;
use crate::provenance::Envelope;
use crate::provenance::statement::input as name;
use crate::sign::Signer;
use crate::verify::provenance::{Evidence, Given, check};
use crate::verify::{Against, NamedFile, deny_list, objects as half, verify};

pub(super) fn run(arguments: &VerifyArguments) -> Result<ExitStatus, LinkError> {
    let base_file = input::open(&arguments.base)?;
    let base = Base::parse(&arguments.base.display().to_string(), &base_file)?;
    let payload = input::open_or_standard_input(&arguments.payload)?;
    let stack = arguments
        .stack
        .iter()
        .map(|path| Ok((path.display().to_string(), input::open(path)?)))
        .collect::<Result<Vec<_>, LinkError>>()?;
    let stack: Vec<_> = stack
        .iter()
        .map(|(path, bytes)| NamedFile { path, bytes })
        .collect();
    let list = match &arguments.deny {
        Some(path) => Some((path.display().to_string(), input::open(path)?)),
        None => None,
    };
    let deny = match &list {
        Some((path, bytes)) => deny_list(NamedFile { path, bytes })?,
        None => Vec::new(),
    };
    let signer = match &arguments.cert {
        Some(path) => {
            let pem = input::open(path)?;
            Some(Signer::from_certificate(&path.display().to_string(), &pem)?)
        }
        None => None,
    };
    let path = arguments.payload.display().to_string();
    let mut verification = verify(
        NamedFile {
            path: &path,
            bytes: &payload,
        },
        Against {
            base: &base,
            stack: &stack,
            deny: &deny,
            signer: signer.as_ref(),
        },
    )?;
    if let Some(file) = &arguments.provenance {
        let (envelope, statement) = Envelope::read(&shown(file), &input::open(file)?)?;
        let evidence = Evidence {
            payload: &payload,
            base_id: base.build_id().to_string(),
            given: given(arguments, &base_file)?,
            signer: signer.as_ref(),
        };
        let checks = check(&envelope, &statement, &evidence);
        verification.checks.extend(checks);
    }
    if !arguments.objects.is_empty() {
        let files = objects::open(&arguments.objects)?;
        let objects = objects::objects(&files)?;
        let named = objects.iter().map(|(name, bytes)| (name.as_str(), *bytes));
        let checks = half::check(&payload, &base, named.collect());
        verification.checks.extend(checks);
    }
    match &arguments.json {
        Some(target) => {
            let inputs = VerifyInputs {
                payload: path,
                base: shown(&arguments.base),
                stack: arguments.stack.iter().map(|path| shown(path)).collect(),
            };
            let verification = &verification;
            output::write_json(
                target,
                VERIFY,
                &VerifyReport {
                    inputs,
                    verification,
                },
            )?;
        }
        None => output::print(&verification.to_string())?,
    }
    Ok(if verification.passed() {
        ExitStatus::Done
    } else {
        ExitStatus::Refused
    })
}

/// The inputs that the command line names, with their digests.
fn given(arguments: &VerifyArguments, base: &[u8]) -> Result<Vec<Given>, LinkError> {
    let mut given = vec![Given::file(
        name::BASE,
        shown(&arguments.base),
        digest_of(base),
    )];
    let failed = |path: &Path, source| LinkError::Read {
        path: path.to_owned(),
        source,
    };
    for (name, path) in [
        (name::ORIGINAL, &arguments.orig),
        (name::PATCHED, &arguments.patched),
        (name::SOURCE, &arguments.src),
    ] {
        if let Some(path) = path {
            let tree = Tree::read(path, &|_| false).map_err(|source| failed(path, source))?;
            given.push(Given::tree(name, shown(path), tree.digest()));
        }
    }
    if let Some(path) = &arguments.patch {
        let sha256 = digest_of_file(path).map_err(|source| failed(path, source))?;
        given.push(Given::file(name::PATCH, shown(path), sha256));
    }
    Ok(given)
}

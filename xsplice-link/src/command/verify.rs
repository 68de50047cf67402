//! `xsplice-link verify`.

use super::{ExitStatus, VerifyArguments};
use crate::base::Base;
use crate::command::report::{VERIFY, VerifyInputs, VerifyReport, shown};
use crate::command::{input, output};
use crate::error::LinkError;
use crate::sign::Signer;
use crate::verify::{Against, NamedFile, deny_list, verify};

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
    let verification = verify(
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

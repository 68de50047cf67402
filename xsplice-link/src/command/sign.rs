//! `xsplice-link sign`.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use xsplice_abi::hex::Hex;

use super::{ExitStatus, SignArguments};
use crate::command::report::{SIGN, SignInputs, SignReport, SignedFile, shown};
use crate::command::{input, output};
use crate::error::LinkError;
use crate::read;
use crate::sign::{KeyFile, Signer, sign};

pub(super) fn run(arguments: &SignArguments) -> Result<ExitStatus, LinkError> {
    let outputs = [Some(&arguments.output), arguments.json.as_ref()];
    output::check_writable(outputs.into_iter().flatten().map(PathBuf::as_path))?;
    let payload = input::open(&arguments.payload)?;
    let path = arguments.payload.display().to_string();
    // A signature says "this is a payload"; nothing else is signed.
    read::payload(&payload).map_err(|source| LinkError::Payload {
        path: path.clone(),
        source,
    })?;
    let certificate = input::open(&arguments.cert)?;
    let signer = Signer::from_certificate(&arguments.cert.display().to_string(), &certificate)?;
    let key = input::open(&arguments.key)?;
    let key = KeyFile {
        path: &arguments.key.display().to_string(),
        pem: &String::from_utf8_lossy(&key),
    };
    let signed = sign(&path, &payload, key, &signer)?;
    output::write_file(&arguments.output, &signed)?;
    let written = shown(&arguments.output);
    let told = format!(
        "{written}: {} bytes, signed by {}\n",
        signed.len(),
        signer.name()
    );
    output::tell(arguments.json.as_deref(), &told)?;
    if let Some(target) = &arguments.json {
        let report = SignReport {
            inputs: SignInputs {
                payload: path,
                key: shown(&arguments.key),
                cert: shown(&arguments.cert),
            },
            signed: SignedFile {
                path: written,
                size: signed.len(),
                sha256: Hex(&Sha256::digest(&signed)).to_string(),
                signer: signer.name(),
            },
        };
        output::write_json(target, SIGN, &report)?;
    }
    Ok(ExitStatus::Done)
}

//! `xsplice-link sign`.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use xsplice_abi::hex::Hex;
use xsplice_console::output::Given;

use super::{ExitStatus, SignArguments};
use crate::command::report::{SIGN, SignInputs, SignReport, SignedFile, shown};
use crate::command::{input, output};
use crate::error::LinkError;
use crate::provenance::statement::SHA256;
use crate::provenance::{Envelope, ProvenanceError, Resource};
use crate::read;
use crate::sign::{KeyFile, Signer, sign};

pub(super) fn run(arguments: &SignArguments) -> Result<ExitStatus, LinkError> {
    let outputs = [
        Some(&arguments.output),
        arguments.provenance.as_ref(),
        arguments.json.as_ref(),
    ];
    output::check_writable(outputs.into_iter().flatten().map(PathBuf::as_path))?;
    check_apart(arguments)?;
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
    let provenance = match &arguments.provenance {
        Some(file) => Some((file, provenance(arguments, file, &payload, &signed)?)),
        None => None,
    };
    output::write_file(&arguments.output, &signed)?;
    if let Some((file, mut envelope)) = provenance {
        envelope.sign(key, &signer)?;
        output::write_file(file, envelope.text().unwrap_or_default().as_bytes())?;
    }
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
                sha256: digest(&signed),
                signer: signer.name(),
            },
        };
        output::write_json(target, SIGN, &report)?;
    }
    Ok(ExitStatus::Done)
}

/// No output may be the key or the certificate, or another output. The payload may be signed in
/// place, and its provenance is.
fn check_apart(arguments: &SignArguments) -> Result<(), LinkError> {
    let outputs = [
        Given::by("--output", Some(&arguments.output)),
        Given::by("--provenance", arguments.provenance.as_ref()),
        Given::by("--json", arguments.json.as_ref()),
    ];
    let inputs = [
        Given::by("--key", Some(&arguments.key)),
        Given::by("--cert", Some(&arguments.cert)),
    ];
    let outputs: Vec<_> = outputs.into_iter().flatten().collect();
    let inputs: Vec<_> = inputs.into_iter().flatten().collect();
    output::check_apart(&outputs, &inputs)
}

/// The provenance at `file`, which names the signed payload too.
fn provenance(
    arguments: &SignArguments,
    file: &Path,
    payload: &[u8],
    signed: &[u8],
) -> Result<Envelope, LinkError> {
    let path = shown(file);
    let (envelope, mut statement) = Envelope::read(&path, &input::open(file)?)?;
    if envelope.is_signed() {
        return Err(ProvenanceError::Signed { path }.into());
    }
    if !statement.is_about(&digest(payload)) {
        let payload = shown(&arguments.payload);
        return Err(ProvenanceError::OtherPayload { path, payload }.into());
    }
    let name = arguments.output.file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    statement
        .subject
        .push(Resource::new(&name, SHA256, &digest(signed)));
    Envelope::new(&statement).map_err(|error| {
        let why = error.to_string();
        ProvenanceError::NotOurs { path, why }.into()
    })
}

fn digest(bytes: &[u8]) -> String {
    Hex(&Sha256::digest(bytes)).to_string()
}

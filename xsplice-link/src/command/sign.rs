//! `xsplice-link sign`.

use super::{ExitStatus, SignArguments};
use crate::command::{input, output};
use crate::error::LinkError;
use crate::read;
use crate::sign::{KeyFile, Signer, sign};

pub(super) fn run(arguments: &SignArguments) -> Result<ExitStatus, LinkError> {
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
    output::print(&format!(
        "{}: {} bytes, signed by {}\n",
        arguments.output.display(),
        signed.len(),
        signer.name()
    ))?;
    Ok(ExitStatus::Done)
}

//! The envelope: DSSE 1.0 (secure-systems-lab/dsse, `protocol.md`). What is signed is the type and
//! the bytes of the statement, each with its length in front, so that neither can be taken for a
//! part of the other.

use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};
use xsplice_abi::hex::Hex;

use super::ProvenanceError;
use super::statement::{PREDICATE, STATEMENT, Statement};
use crate::sign::{KeyFile, SignError, Signer};

/// Type of what is in it.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A statement with its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Of the statement.
    payload_type: String,
    /// The statement's bytes, in base64.
    payload: String,
    /// None until it is signed.
    signatures: Vec<Signature>,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    /// The key's id, in hexadecimal: that of the signature behind a payload.
    keyid: String,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2), in base64.
    sig: String,
}

impl Envelope {
    /// An envelope without signatures.
    ///
    /// # Errors
    ///
    /// The statement cannot be expressed in JSON.
    pub fn new(statement: &Statement) -> serde_json::Result<Envelope> {
        let bytes = serde_json::to_vec(statement)?;
        Ok(Envelope {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: Base64::encode_string(&bytes),
            signatures: Vec::new(),
        })
    }

    /// Reads an envelope and its statement; `path` is what messages call it. No signature is
    /// checked.
    ///
    /// # Errors
    ///
    /// [`ProvenanceError::NotOurs`].
    pub fn read(path: &str, bytes: &[u8]) -> Result<(Envelope, Statement), ProvenanceError> {
        let not_ours = |why: String| ProvenanceError::NotOurs {
            path: path.to_owned(),
            why,
        };
        let envelope: Envelope = serde_json::from_slice(bytes)
            .map_err(|error| not_ours(format!("it is no DSSE envelope ({error})")))?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(not_ours(format!("it holds {}", envelope.payload_type)));
        }
        let bytes = envelope.statement().map_err(not_ours)?;
        let statement: Statement = serde_json::from_slice(&bytes)
            .map_err(|error| not_ours(format!("what it holds is no statement ({error})")))?;
        if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
            return Err(not_ours(format!(
                "its statement is of {} and {}",
                statement.kind, statement.predicate_type
            )));
        }
        Ok((envelope, statement))
    }

    fn statement(&self) -> Result<Vec<u8>, String> {
        Base64::decode_vec(&self.payload).map_err(|error| format!("its base64 is spoiled: {error}"))
    }

    /// The file: JSON with a line end.
    ///
    /// # Errors
    ///
    /// None in practice; as for [`Envelope::new`].
    pub fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Signs it.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub fn sign(&mut self, key: KeyFile<'_>, signer: &Signer) -> Result<(), SignError> {
        let bytes = self.statement().unwrap_or_default();
        let signature = signer.sign(key, &authenticated(&self.payload_type, &bytes))?;
        self.signatures.push(Signature {
            keyid: Hex(signer.key_id()).to_string(),
            sig: Base64::encode_string(&signature),
        });
        Ok(())
    }

    /// Whether it is signed at all.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// Whether one of the signatures is that of the certificate's key.
    #[must_use]
    pub fn is_signed_by(&self, signer: &Signer) -> bool {
        let Ok(bytes) = self.statement() else {
            return false;
        };
        let signed = authenticated(&self.payload_type, &bytes);
        // The id only helps to find a key, and is not signed; so every signature is tried.
        self.signatures.iter().any(|one| {
            let signature = Base64::decode_vec(&one.sig);
            signature.is_ok_and(|signature| signer.has_signed(&signed, &signature))
        })
    }
}

/// What is signed: `DSSEv1`, then type and content, each after its length (`PAE` of the protocol).
fn authenticated(kind: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), content.len()).into_bytes();
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::authenticated;

    #[test]
    fn lengths_stand_before_type_and_content() {
        // The example of the protocol.
        let signed = authenticated("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            signed,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}

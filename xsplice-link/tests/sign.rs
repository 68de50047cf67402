//! Signatures: put behind a payload, accepted by the certificate, refused after any change, and
//! judged the same by openssl.

use std::process::Command;

use crate::support::hand::{self, RETURN_ONE};
use crate::support::{KERNEL, Tree, run};
use tempfile::TempDir;
use xsplice_abi::errno::Errno;
use xsplice_abi::profile::XSPLICE;
use xsplice_link::Base;
use xsplice_link::LinkOptions;
use xsplice_link::link;
use xsplice_link::sign::{KeyFile, SignError, Signer, content, sign};
use xsplice_link::verify::{Against, CheckKind, NamedFile, Verdict, verify};

/// A key and its certificate, made by openssl.
struct Identity {
    directory: TempDir,
    key: String,
    certificate: Vec<u8>,
}

impl Identity {
    fn new(name: &str) -> Identity {
        let directory = tempfile::tempdir().unwrap();
        run(Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
            ])
            .args([
                "-subj",
                &format!("/CN={name}"),
                "-keyout",
                "key.pem",
                "-out",
                "cert.pem",
            ])
            .current_dir(directory.path()));
        let read = |name| std::fs::read(directory.path().join(name)).unwrap();
        Identity {
            key: String::from_utf8(read("key.pem")).unwrap(),
            certificate: read("cert.pem"),
            directory,
        }
    }

    fn signer(&self) -> Signer {
        Signer::from_certificate("cert.pem", &self.certificate).unwrap()
    }

    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignError> {
        let key = KeyFile {
            path: "key.pem",
            pem: &self.key,
        };
        sign("payload", payload, key, &self.signer())
    }
}

fn image() -> Vec<u8> {
    let source = "int first(int x) { return x / 3; } int second(int x) { return x / 5; }";
    Tree::compile(&[("a.c", source)], KERNEL).link()
}

#[test]
fn a_signed_payload_passes_with_its_certificate_and_fails_with_another_or_a_changed_bit() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
    let payload = link(&base, &[extract], &LinkOptions::new("fix", &XSPLICE))
        .unwrap()
        .bytes;
    let ours = Identity::new("the builder");
    let other = Identity::new("somebody else");
    let signed = ours.sign(&payload).unwrap();
    assert_eq!(content(&signed), payload);
    let (ours, other) = (ours.signer(), other.signer());
    let report = |bytes: &[u8], signer| {
        let file = NamedFile {
            path: "payload",
            bytes,
        };
        let against = Against {
            base: &base,
            stack: &[],
            deny: &[],
            signer,
        };
        verify(file, against).unwrap()
    };
    // Without a certificate nothing is judged, and whose signature it claims to be is told.
    let unasked = |bytes: &[u8]| {
        let report = report(bytes, None);
        let line = report.checks.last().unwrap();
        assert_eq!(
            (line.check, line.verdict),
            (CheckKind::Signature, Verdict::NotAsked)
        );
        assert!(report.passed());
        line.message.clone()
    };
    assert_eq!(unasked(&payload), "not signed");
    assert!(unasked(&signed).contains("CN=the builder"));

    let failures = |bytes: &[u8], signer| -> Vec<(CheckKind, Option<i32>)> {
        let report = report(bytes, Some(signer));
        report
            .failures()
            .map(|check| (check.check, check.errno))
            .collect()
    };
    assert_eq!(failures(&signed, &ours), []);
    let rejected = (CheckKind::Signature, Some(Errno::EKEYREJECTED.code()));
    assert_eq!(
        failures(&signed, &other),
        [(CheckKind::Signature, Some(Errno::ENOKEY.code()))]
    );
    assert_eq!(failures(&payload, &ours), [rejected], "unsigned");
    for at in (0..payload.len()).step_by(payload.len() / 16) {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        assert!(
            failures(&changed, &ours).contains(&rejected),
            "bit of byte {at:#x}"
        );
    }
    // The signature itself, which stands before the 12-byte trailer and the magic.
    let mut changed = signed.clone();
    let at = signed.len() - 28 - 12 - 7;
    changed[at] ^= 0x80;
    assert_eq!(failures(&changed, &ours), [rejected]);
}

#[test]
fn openssl_says_the_same_of_the_signature() {
    let identity = Identity::new("the builder");
    let payload = b"any bytes at all".to_vec();
    let signed = identity.sign(&payload).unwrap();
    let directory = identity.directory.path();
    let end = signed.len() - 28 - 12;
    let verify = |content: &[u8]| {
        std::fs::write(directory.join("content"), content).unwrap();
        std::fs::write(directory.join("signature"), &signed[end - 256..end]).unwrap();
        run(Command::new("openssl")
            .args([
                "x509",
                "-in",
                "cert.pem",
                "-noout",
                "-pubkey",
                "-out",
                "public.pem",
            ])
            .current_dir(directory));
        Command::new("openssl")
            .args([
                "dgst",
                "-sha256",
                "-verify",
                "public.pem",
                "-signature",
                "signature",
                "content",
            ])
            .current_dir(directory)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(verify(&payload));
    assert!(!verify(b"any bytes at al1"));
}

#[test]
fn a_key_of_another_certificate_and_a_second_signature_are_refused() {
    let (ours, other) = (Identity::new("one"), Identity::new("two"));
    let key = KeyFile {
        path: "key.pem",
        pem: &other.key,
    };
    let mixed = sign("payload", b"payload", key, &ours.signer());
    assert!(matches!(mixed, Err(SignError::KeyOfOther { .. })));
    let once = ours.sign(b"payload").unwrap();
    assert!(matches!(ours.sign(&once), Err(SignError::Signed { .. })));
    let broken = KeyFile {
        path: "key.pem",
        pem: "-----BEGIN PRIVATE KEY-----",
    };
    let unread = sign("payload", b"payload", broken, &ours.signer());
    assert!(matches!(unread, Err(SignError::Key { .. })));
    let none = Signer::from_certificate("cert.pem", b"nothing");
    assert!(matches!(none, Err(SignError::Certificate { .. })));
}

#[test]
fn a_key_of_another_algorithm_is_called_that() {
    let mut identity = Identity::new("the builder");
    run(Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC", "-pkeyopt"])
        .args(["ec_paramgen_curve:P-256", "-out", "ec.pem"])
        .current_dir(identity.directory.path()));
    identity.key = std::fs::read_to_string(identity.directory.path().join("ec.pem")).unwrap();
    let error = identity.sign(b"any bytes at all").unwrap_err();
    assert!(matches!(error, SignError::OtherAlgorithm { .. }), "{error}");
}

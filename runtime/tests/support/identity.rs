//! A key, its certificate and what it signs, all by `openssl`: what signs shares nothing with what
//! checks.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A key pair in a folder of its own.
pub(crate) struct Identity {
    folder: tempfile::TempDir,
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output();
    let output = output.expect("openssl runs; install openssl");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
}

impl Identity {
    /// One with a modulus of so many bits.
    pub(crate) fn new(bits: u32) -> Identity {
        let identity = Identity {
            folder: tempfile::tempdir().unwrap(),
        };
        let (key, certificate) = (identity.path("key.pem"), identity.path("cert.pem"));
        openssl(&["genrsa", "-out", &key, &bits.to_string()]);
        let subject = ["-subj", "/CN=somebody"];
        let make = ["req", "-x509", "-days", "1", "-key", &key, "-out"];
        openssl(&[&make[..], &[&certificate], &subject].concat());
        identity
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    /// Its certificate, in PEM form.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        fs::read(self.path("cert.pem")).unwrap()
    }

    /// Its signature of `content`.
    pub(crate) fn sign(&self, content: &[u8]) -> Vec<u8> {
        let (from, to) = (self.path("content"), self.path("signature"));
        fs::write(&from, content).unwrap();
        let key = self.path("key.pem");
        openssl(&["dgst", "-sha256", "-sign", &key, "-out", &to, &from]);
        fs::read(&to).unwrap()
    }

    /// The number that its public operation makes `encoded` of, which is as long as its modulus.
    pub(crate) fn invert(&self, encoded: &[u8]) -> Vec<u8> {
        let (from, to) = (self.path("encoded"), self.path("number"));
        fs::write(&from, encoded).unwrap();
        let key = self.path("key.pem");
        let raw = ["-pkeyopt", "rsa_padding_mode:none"];
        let sign = ["pkeyutl", "-decrypt", "-inkey", &key, "-in", &from, "-out"];
        openssl(&[&sign[..], &[&to], &raw].concat());
        fs::read(&to).unwrap()
    }

    /// Its modulus, most significant byte first.
    pub(crate) fn modulus(&self) -> Vec<u8> {
        let key = self.path("key.pem");
        let output = Command::new("openssl")
            .args(["rsa", "-in", &key, "-noout", "-modulus"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let digits = text.trim().strip_prefix("Modulus=").unwrap();
        (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }
}

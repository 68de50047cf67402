//! A kernel that was given a certificate takes what its holder signed, and nothing else.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use xsplice_abi::Errno;
use xsplice_ctl::calls::ActionKind;
use xsplice_link::sign::{KeyFile, Signer, sign};
use xsplice_tests::breaks;
use xsplice_tests::shell::{Echo, Line, Shell};

use super::super::Check;
use super::bench::{Bench, HELLO};

pub(crate) const CHECKS: &[Check] = &[(
    "with a trusted key unsigned, foreign and changed payloads are refused, signed ones work",
    signatures,
)];

/// A key and its certificate.
pub(crate) struct Identity {
    key: String,
    signer: Signer,
}

impl Identity {
    /// Has openssl make one in `folder`; the certificate is `cert.pem` there.
    pub(crate) fn new(folder: &Path, subject: &str) -> Result<Identity> {
        fs::create_dir_all(folder)?;
        let mut make = Line::new("openssl");
        for word in [
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", subject,
        ] {
            make = make.arg(word);
        }
        let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
        let make = make.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        Shell::at_root(Echo::Silent).run(&make)?;
        Ok(Identity {
            key: fs::read_to_string(&key)?,
            signer: Signer::from_certificate("cert.pem", &fs::read(&certificate)?)?,
        })
    }

    pub(crate) fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let key = KeyFile {
            path: "key.pem",
            pem: &self.key,
        };
        Ok(sign("payload", payload, key, &self.signer)?)
    }
}

fn signatures(bench: &mut Bench, cpus: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let trusted = folder.path().join("trusted");
    let ours = Identity::new(&trusted, "/CN=the builder")?;
    let other = Identity::new(&folder.path().join("other"), "/CN=somebody else")?;
    let mut hello = bench.payload(&HELLO)?;
    let original = bench.original()?.extra_version;
    let (unsigned, signed) = (hello.bytes.clone(), ours.sign(&hello.bytes)?);

    let kernel = bench.kernel_that_trusts(cpus, &trusted.join("cert.pem"))?;
    let log = bench.log(cpus)?;
    ensure!(
        log.contains("payloads must be signed by CN=the builder"),
        "{log}"
    );
    let answer = kernel.upload(hello.name, &other.sign(&unsigned)?)?;
    ensure!(answer == Err(Errno::ENOKEY), "foreign key: {answer:?}");
    for one in breaks::SIGNATURE {
        let mut changed = signed.clone();
        (one.change)(&mut changed, unsigned.len());
        let answer = kernel.upload(hello.name, &changed)?;
        ensure!(answer == Err(one.errno), "{}: {answer:?}", one.name);
    }
    let entries = kernel.list()?;
    ensure!(entries.is_empty(), "left behind: {entries:?}");

    hello.bytes = signed;
    hello.upload(&kernel)?;
    hello.act(&kernel, ActionKind::Apply)?;
    let extra = kernel.info()?.remove("extra").context("extra")?;
    ensure!(extra == hello.expected.extra_version, "{extra}");
    hello.act(&kernel, ActionKind::Revert)?;
    let extra = kernel.info()?.remove("extra").context("extra")?;
    ensure!(extra == original, "{extra}");
    hello.act(&kernel, ActionKind::Unload)?;
    // Later checks know no key. Without one the signature is not looked at.
    bench.stop(cpus);
    let kernel = bench.kernel(cpus)?;
    hello.upload(&kernel)?;
    hello.act(&kernel, ActionKind::Unload)?;
    let answer = kernel.upload(hello.name, &unsigned)?;
    ensure!(answer == Ok(()), "without a key: {answer:?}");
    hello.act(&kernel, ActionKind::Unload)
}

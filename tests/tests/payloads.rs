//! Every payload of the cases, for each ABI that it can have: what `inspect` says of it, three
//! readers and `readelf`, what the one for the default ABI makes of it, the loader's whole life of
//! it, and every way to break it, judged alike by `verify` and by the loader.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, ensure};
use goblin::elf::Elf;
use libtest_mimic::{Arguments, Failed, Trial};
use xsplice_abi::Profile;
use xsplice_abi::hypercall::STATE_CHECKED;
use xsplice_abi::profile;
use xsplice_link::Base;
use xsplice_link::sign::{KeyFile, Signer, sign};
use xsplice_link::verify as checks;
use xsplice_link::verify::{Against, NamedFile, Verification, verify};
use xsplice_runtime::read::signature::Verifier;
use xsplice_tests::breaks::{self, SIGNATURE};
use xsplice_tests::case::{self, BASE, Case};
use xsplice_tests::edit::Edit;
use xsplice_tests::loader::{Machine, NAME, Outcome};
use xsplice_tests::operator::{Act, State, act, status, upload};
use xsplice_tests::{counterpart, inspected, listing, tools};

/// Name of the payload that a run writes.
const OUTPUT: &str = "out.xsplice";

/// Exit statuses of the tools.
const MADE: i32 = 0;
const REFUSED: i32 = 2;

/// Fewest breaks that a payload must have a place for.
const BREAKS_MIN: usize = 40;

/// Names of the breaks that some payload had a place for.
static USED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for case in case::all()? {
        let pending = case.description.pending.is_some();
        if case.description.link.is_some() {
            let name = case.name.clone();
            trials.push(
                Trial::test(name, move || every_profile(&case).map_err(failed))
                    .with_ignored_flag(pending),
            );
        }
    }
    let is_whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if is_whole && !conclusion.has_failed() {
        let used = USED
            .lock()
            .map_err(|_| anyhow::anyhow!("a case panicked"))?;
        let all = breaks::all().map(|one| one.name);
        let unused: Vec<_> = all
            .chain(breaks::unseen().map(|one| one.name))
            .filter(|name| !used.contains(name))
            .collect();
        ensure!(unused.is_empty(), "no case has a place for {unused:?}");
    }
    conclusion.exit();
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}

/// Builds the case for each ABI, puts each payload through everything, and compares those for the
/// other ABIs with the one for the default: each is what the format's description makes of it, or
/// the case claims that it is refused.
fn every_profile(case: &Case) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    case.lay_out(scratch.path())?;
    let mut default = None;
    for abi in profile::ALL {
        let built = build(case, scratch.path(), abi)?;
        if let Some(payload) = &built.payload {
            life(scratch.path(), payload, abi).with_context(|| abi.name)?;
        }
        let Some(default) = &default else {
            ensure!(
                abi.name == profile::XSPLICE.name,
                "the default is the first"
            );
            default = Some(built);
            continue;
        };
        as_claimed(case, default, &built, abi).with_context(|| format!("--abi {}", abi.name))?;
    }
    let known = |name: &String| profile::ALL.iter().any(|abi| abi.name == name);
    let claimed = &case.description.expect.abis;
    ensure!(claimed.keys().all(known), "claims of no such ABI");
    Ok(())
}

fn as_claimed(case: &Case, default: &Built, built: &Built, abi: &'static Profile) -> Result<()> {
    if let Some(claimed) = case.description.expect.abis.get(abi.name) {
        let status = if claimed.is_empty() { MADE } else { REFUSED };
        ensure!(
            (built.status, &built.refusals) == (status, claimed),
            "claimed {claimed:?}, found {:?}: {}",
            built.refusals,
            built.said
        );
        let Some(payload) = &built.payload else {
            return Ok(());
        };
        return case::contains(
            &listing::listing(payload)?,
            &case.description.expect.payload,
        );
    }
    ensure!(
        (built.status, &built.refusals) == (default.status, &default.refusals),
        "other than the default ABI: {}",
        built.said
    );
    match (&default.payload, &built.payload) {
        (Some(default), Some(payload)) => counterpart::check(default, payload, abi),
        _ => {
            ensure!(built.said == default.said, "says\n{}", built.said);
            Ok(())
        }
    }
}

/// What a run left behind.
struct Built {
    status: i32,
    /// As `code place`, sorted.
    refusals: Vec<String>,
    /// Standard error.
    said: String,
    payload: Option<Vec<u8>>,
}

fn build(case: &Case, folder: &Path, abi: &'static Profile) -> Result<Built> {
    let path = folder.join(OUTPUT);
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let fixed = "--orig original --patched patched --verify-reproducible --json report.json --base";
    let named = [BASE, "-o", OUTPUT, "-n", &case.name, "--abi", abi.name];
    let arguments = case.description.arguments.iter().map(String::as_str);
    let words = fixed.split(' ').chain(named).chain(arguments);
    let run = tools::run("xsplice-build", words, folder)?;
    let status = run.status.context("a signal ended xsplice-build")?;
    let payload = fs::read(&path).ok();
    ensure!(payload.is_some() == (status == 0), "{run:?}");
    let report = serde_json::from_slice(&fs::read(folder.join("report.json"))?)?;
    Ok(Built {
        status,
        refusals: case::refusals(&report)?,
        said: run.stderr,
        payload,
    })
}

/// One payload, whole and broken.
fn life(folder: &Path, payload: &[u8], abi: &'static Profile) -> Result<()> {
    tools::readelf(&folder.join(OUTPUT))?;
    Elf::parse(payload).context("goblin")?;
    let image = fs::read(folder.join(BASE))?;
    let base = Base::parse(BASE, &image)?;
    let machine = Machine::new(&image)?;
    inspected::check(NAME, payload, abi)?;
    whole(&machine, &base, payload)?;
    let mut count = 0;
    let mut wrong = Vec::new();
    for one in breaks::all() {
        let mut edit = Edit::new(payload, abi);
        if (one.change)(&mut edit).is_none() {
            continue;
        }
        count += 1;
        used(one.name);
        let changed = edit.stamp();
        let outcome = machine.ask(&changed, None)?;
        let report = verified(&base, &changed, None)?;
        let is_refused = matches!(outcome, Outcome::NotUploaded(errno) | Outcome::NotApplied(errno)
            if errno == one.errno);
        let is_named = report
            .failures()
            .any(|check| check.check == one.check && check.errno == Some(one.errno.code()));
        if changed == payload || !is_refused || !is_named || !agree(outcome, &report) {
            wrong.push(format!(
                "{}: claimed {:?} and {}, the loader says {outcome:?}, verify says:\n{report}",
                one.name, one.check, one.errno
            ));
        }
    }
    for one in breaks::unseen() {
        let mut edit = Edit::new(payload, abi);
        if (one.change)(&mut edit).is_none() {
            continue;
        }
        used(one.name);
        let changed = edit.stamp();
        let outcome = machine.ask(&changed, None)?;
        let report = verified(&base, &changed, None)?;
        let is_named = report
            .failures()
            .any(|check| check.check == one.check && check.errno.is_none());
        if outcome != Outcome::Applied || !is_named || !agree(outcome, &report) {
            wrong.push(format!(
                "{}: claimed {:?} alone, the loader says {outcome:?}, verify says:\n{report}",
                one.name, one.check
            ));
        }
    }
    wrong.extend(signatures(&machine, &base, payload)?);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(count >= BREAKS_MIN, "only {count} breaks have a place here");
    Ok(())
}

fn used(name: &'static str) {
    if let Ok(mut used) = USED.lock() {
        used.insert(name);
    }
}

/// Whether `verify` promises what the loader did, and gives numbers to failures alone that it has.
fn agree(outcome: Outcome, report: &Verification) -> bool {
    let answer = report.loader;
    let has_number = report
        .failures()
        .any(|check| check.errno == answer.refusal().map(|(_, code)| code));
    match outcome {
        Outcome::Applied => {
            answer.is_taken() && report.failures().all(|check| check.errno.is_none())
        }
        Outcome::NotUploaded(errno) => answer.upload == Some(errno.code()) && has_number,
        Outcome::NotApplied(errno) => {
            (answer.upload, answer.apply) == (None, Some(errno.code())) && has_number
        }
    }
}

fn verified(base: &Base<'_>, payload: &[u8], signer: Option<&Signer>) -> Result<Verification> {
    let file = NamedFile {
        path: NAME,
        bytes: payload,
    };
    let against = Against {
        base,
        stack: &[],
        deny: &[],
        signer,
    };
    Ok(verify(file, against)?)
}

/// The unbroken payload: verify has nothing against it, the loader takes it, applies it where the
/// records say and nowhere else, and leaves no byte behind.
fn whole(machine: &Machine<'_>, base: &Base<'_>, payload: &[u8]) -> Result<()> {
    let report = verified(base, payload, None)?;
    ensure!(report.passed() && report.loader.is_taken(), "{report}");
    let runtime = machine.boot(None)?;
    let before = runtime.platform().snapshot();
    let no_rc = |code: i32| anyhow::anyhow!("the loader returns {code}");
    upload(&runtime, NAME, payload)
        .map_err(no_rc)
        .context("upload")?;
    act(&runtime, NAME, Act::Check)
        .map_err(no_rc)
        .context("check")?;
    let loaded = runtime.platform().snapshot();
    ensure!(loaded.starts_with(&before), "loading wrote to the base");
    act(&runtime, NAME, Act::Apply)
        .map_err(no_rc)
        .context("apply")?;
    ensure!(status(&runtime, NAME) == Ok((State::Applied, 0)), "applied");
    act(&runtime, NAME, Act::Revert)
        .map_err(no_rc)
        .context("revert")?;
    ensure!(
        status(&runtime, NAME) == Ok((State::Checked, 0)),
        "state {STATE_CHECKED} after the revert"
    );
    // What verify says of a second time.
    let again = act(&runtime, NAME, Act::Apply);
    let outlook = report
        .outlook
        .as_ref()
        .context("a whole payload has an outlook")?;
    ensure!(
        again.is_ok() == outlook.writable.is_empty(),
        "verify says {:?} of a second apply, which returned {again:?}",
        outlook.writable
    );
    if again.is_ok() {
        act(&runtime, NAME, Act::Revert)
            .map_err(no_rc)
            .context("second revert")?;
    }
    act(&runtime, NAME, Act::Unload)
        .map_err(no_rc)
        .context("unload")?;
    ensure!(
        runtime.platform().snapshot() == before,
        "bytes are left behind"
    );
    replaced(machine, outlook, payload)
}

/// REPLACE does what verify says of it.
fn replaced(machine: &Machine<'_>, outlook: &checks::Outlook, payload: &[u8]) -> Result<()> {
    let runtime = machine.boot(None)?;
    upload(&runtime, NAME, payload).map_err(|code| anyhow::anyhow!("upload returns {code}"))?;
    let replaced = act(&runtime, NAME, Act::Replace);
    ensure!(
        replaced.is_ok() == outlook.vetoing_hooks.is_empty(),
        "verify says {:?} of a replace, which returned {replaced:?}",
        outlook.vetoing_hooks
    );
    Ok(())
}

/// A key and a certificate, made once by openssl, and somebody else's.
fn identities() -> Result<&'static [(String, Signer); 2]> {
    static IDENTITIES: OnceLock<std::result::Result<[(String, Signer); 2], String>> =
        OnceLock::new();
    let make = |name: &str| -> Result<(String, Signer)> {
        let folder = tempfile::tempdir()?;
        let run = tools::limited(
            Command::new("openssl")
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
                ])
                .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj"])
                .arg(format!("/CN={name}"))
                .current_dir(folder.path()),
        )?;
        ensure!(run.status == Some(0), "{run:?}");
        let certificate = fs::read(folder.path().join("cert.pem"))?;
        Ok((
            fs::read_to_string(folder.path().join("key.pem"))?,
            Signer::from_certificate("cert.pem", &certificate)?,
        ))
    };
    IDENTITIES
        .get_or_init(|| {
            let both = || Ok([make("builder")?, make("somebody else")?]);
            both().map_err(|error: anyhow::Error| format!("{error:#}"))
        })
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// The signed payload, whole and broken, for a loader that trusts one key.
fn signatures(machine: &Machine<'_>, base: &Base<'_>, payload: &[u8]) -> Result<Vec<String>> {
    let [(key, ours), (_, other)] = identities()?;
    let key = KeyFile {
        path: "key.pem",
        pem: key,
    };
    let signed = sign(NAME, payload, key, ours)?;
    let mut wrong = Vec::new();
    let mut judge = |name: &str, file: &[u8], signer: &Signer, errno: Option<_>| -> Result<()> {
        let outcome = machine.ask(file, Some(signer as &dyn Verifier))?;
        let report = verified(base, file, Some(signer))?;
        let expected = errno.map_or(Outcome::Applied, Outcome::NotUploaded);
        if outcome != expected || !agree(outcome, &report) {
            wrong.push(format!(
                "signature, {name}: claimed {expected:?}, the loader says {outcome:?}, verify \
                 says:\n{report}"
            ));
        }
        Ok(())
    };
    judge("whole", &signed, ours, None)?;
    judge(
        "of another",
        &signed,
        other,
        Some(xsplice_abi::Errno::ENOKEY),
    )?;
    for one in SIGNATURE {
        let mut changed = signed.clone();
        (one.change)(&mut changed, payload.len());
        judge(one.name, &changed, ours, Some(one.errno))?;
    }
    Ok(wrong)
}

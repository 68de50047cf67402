//! The recipe for pipelines, `docs/ci/make-hotpatch.sh`, does what it promises on the example
//! target: payload, reports and signature of a fix; reports alone of what is refused; and its exit
//! status.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;
use xsplice_tests::tools::{self, Run, limited};
use xsplice_tests::workspace;

const MAKE: &str =
    "make -s -C \"$TARGET\" O=\"$OUTPUT\" SRC=\"$SOURCE\" KERNEL_LIB=\"$KERNEL_LIB\"";
/// The kernel proper is not looked at here, so one that does nothing is linked instead.
const NO_KERNEL: &str = ".globl pvh_start\npvh_start: ret\n";

fn target() -> PathBuf {
    workspace().join("fixtures/target")
}

/// Runs a shell command that must succeed.
fn shell(command: &str, folder: &Path) {
    let run = limited(
        Command::new("sh")
            .args(["-ec", command])
            .env("TARGET", target())
            .env("SOURCE", target())
            .env("OUTPUT", folder.join("shipped"))
            .env("KERNEL_LIB", folder.join("kernel.a"))
            .current_dir(folder),
    )
    .unwrap();
    assert_eq!(run.status, Some(0), "{command}: {run:?}");
}

/// What was shipped, and a key: made once for all tests.
fn shipped() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            fs::write(path.join("kernel.S"), NO_KERNEL).unwrap();
            shell("gcc -c kernel.S && ar rc kernel.a kernel.o", path);
            shell(MAKE, path);
            shell(
                "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ci -keyout key.pem -out cert.pem",
                path,
            );
            folder
        })
        .path()
}

/// Runs the recipe for a patch; results go to `out`.
fn recipe(patch: &Path, out: &Path, further: &[&str]) -> Run {
    let shipped = shipped();
    let path = env::join_paths(
        std::iter::once(tools::folder().to_owned())
            .chain(env::split_paths(&env::var_os("PATH").unwrap())),
    )
    .unwrap();
    limited(
        Command::new(workspace().join("docs/ci/make-hotpatch.sh"))
            .arg("--source")
            .arg(target())
            .arg("--patch")
            .arg(patch)
            .arg("--orig")
            .arg(shipped.join("shipped"))
            .arg("--base")
            .arg(shipped.join("shipped/xsplice-kernel"))
            .args(["--build", MAKE])
            .arg("--out")
            .arg(out)
            .args(further)
            .env("PATH", path)
            .env("TARGET", target())
            .env("KERNEL_LIB", shipped.join("kernel.a"))
            .current_dir(shipped),
    )
    .unwrap()
}

fn fixture(patch: &str) -> PathBuf {
    target().join("patches").join(format!("{patch}.patch"))
}

fn report(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

#[test]
fn a_fix_becomes_a_signed_payload_with_its_reports() {
    let results = tempfile::tempdir().unwrap();
    let out = results.path().join("results");
    let signed = ["--key", "key.pem", "--cert", "cert.pem"];
    let run = recipe(&fixture("hello-world"), &out, &signed);
    assert_eq!(run.status, Some(0), "{run:?}");

    assert!(!report(&out)["payload"].is_null());
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("hello-world"), "{page}");
    let payload = fs::read(out.join("hello-world.xsplice")).unwrap();
    let signature = fs::read(out.join("hello-world.sig")).unwrap();
    assert!(!signature.is_empty() && payload.ends_with(&signature));
    let verified: Value =
        serde_json::from_slice(&fs::read(out.join("verify.json")).unwrap()).unwrap();
    let checks = verified["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["check"] == "signature"));
    shell("sha256sum --check --quiet SHA256SUMS", &out);

    // The twin: another fix stands on top of it, and one that knows nothing of it would not.
    let below = out.join("hello-world.xsplice");
    let stacked = ["--depends", below.to_str().unwrap()];
    let upper = results.path().join("upper");
    let run = recipe(&fixture("hot-function"), &upper, &stacked);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_ne!(
        report(&upper)["payload"]["depends"],
        report(&out)["payload"]["depends"]
    );
    assert!(!upper.join("hot-function.sig").exists());
}

#[test]
fn a_refusal_leaves_its_reports_and_no_payload() {
    let results = tempfile::tempdir().unwrap();
    let out = results.path().join("results");
    let run = recipe(&fixture("changed-data"), &out, &[]);
    assert_eq!(run.status, Some(2), "{run:?}");
    assert_eq!(report(&out)["refusals"][0]["code"], "changed-data");
    assert!(out.join("report.html").is_file());
    assert!(!out.join("changed-data.xsplice").exists());
}

#[test]
fn what_changes_nothing_is_told_from_what_could_not_run() {
    let results = tempfile::tempdir().unwrap();
    let source = fs::read_to_string(target().join("core/version.c")).unwrap();
    fs::create_dir(results.path().join("core")).unwrap();
    let edited = results.path().join("core/version.c");
    fs::write(&edited, format!("{source}/* only a comment */\n")).unwrap();
    let difference = limited(
        Command::new("diff")
            .args([
                "-u",
                "--label",
                "a/core/version.c",
                "--label",
                "b/core/version.c",
            ])
            .arg(target().join("core/version.c"))
            .arg(&edited),
    )
    .unwrap();
    let comment = results.path().join("comment.patch");
    fs::write(&comment, &difference.stdout).unwrap();
    let out = results.path().join("nothing");
    let run = recipe(&comment, &out, &[]);
    assert_eq!(run.status, Some(3), "{run:?}");
    assert!(report(&out)["payload"].is_null());

    let stale = results.path().join("stale.patch");
    fs::write(
        &stale,
        difference.stdout.replacen("\n ", "\n otherwise ", 1),
    )
    .unwrap();
    let run = recipe(&stale, &results.path().join("stale"), &[]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stderr.contains("does not apply"), "{run:?}");

    let half = recipe(
        &comment,
        &results.path().join("half"),
        &["--key", "key.pem"],
    );
    assert_eq!(half.status, Some(1), "{half:?}");
}

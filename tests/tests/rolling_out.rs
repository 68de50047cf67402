//! What docs/rolling-out.md says of loading, stacking and rolling back, done on a running loader
//! with the operator's tool.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use xsplice_tests::case::Case;
use xsplice_tests::served;
use xsplice_tests::tools::{self, Run, limited};
use xsplice_tests::workspace;

/// A loader that runs the base of a case, and two payloads for it, `second` on top of `fix`.
fn running() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::read(&workspace().join("fixtures/cases/string-only")).unwrap();
    case.lay_out(folder.path()).unwrap();
    let build = "xsplice-build --orig original --patched patched --base base";
    for line in [
        format!("{build} -n fix -o fix.xsplice"),
        format!("{build} -n second -o second.xsplice --depends fix.xsplice"),
    ] {
        assert_eq!(shell(&line, folder.path()).status, Some(0), "{line}");
    }
    let socket = folder.path().join("kernel.sock");
    served::boot(&folder.path().join("base"), &socket).unwrap();
    folder
}

fn shell(script: &str, folder: &Path) -> Run {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder);
    command.env("PATH", format!("{}:{path}", tools::folder().display()));
    command.env("XSPLICE_SOCKET", folder.join("kernel.sock"));
    limited(&mut command).unwrap()
}

#[test]
fn the_commands_of_the_chapter_load_and_roll_back() {
    let document = fs::read_to_string(workspace().join("docs/rolling-out.md")).unwrap();
    let (_, chapter) = document.split_once("\n## The bundled runtime\n").unwrap();
    let (_, block) = chapter.split_once("\n```sh\n").unwrap();
    let (block, _) = block.split_once("\n```\n").unwrap();
    let folder = running();
    let run = shell(block, folder.path());
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.contains("APPLIED"), "{run:?}");
    let left = shell("xsplice-ctl list", folder.path());
    assert!(!left.stdout.contains("fix"), "{left:?}");
}

#[test]
fn payloads_stack_and_come_off_in_the_opposite_order() {
    let folder = running();
    let ctl = |line: &str| shell(&format!("xsplice-ctl {line}"), folder.path());
    // In the wrong order it is refused, and `verify` says so beforehand.
    let early = "xsplice-link verify --base base second.xsplice";
    assert_ne!(shell(early, folder.path()).status, Some(0));
    assert_ne!(ctl("load second.xsplice").status, Some(0));
    let stacked = "xsplice-link verify --base base --stack fix.xsplice second.xsplice";
    assert_eq!(shell(stacked, folder.path()).status, Some(0));
    for line in ["load fix.xsplice", "load second.xsplice"] {
        let run = ctl(line);
        assert_eq!(run.status, Some(0), "{line}: {run:?}");
    }
    // One below is busy while another stands on it.
    let below = ctl("revert fix");
    assert!(
        below.status != Some(0) && below.stderr.contains("EBUSY"),
        "{below:?}"
    );
    for line in ["revert second", "unload second", "revert fix", "unload fix"] {
        let run = ctl(line);
        assert_eq!(run.status, Some(0), "{line}: {run:?}");
    }
}

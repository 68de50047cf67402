//! Runs the transcripts of the documents: what they show is what the commands print.
//!
//! `TRYCMD=overwrite` rewrites them. They run in the root of the workspace, as a reader would, and
//! write below `target/`.

use xsplice_tests::{tools, workspace};

#[test]
fn documents_show_what_the_commands_print() {
    std::env::set_current_dir(workspace()).expect("the workspace is there");
    // The worked examples write there, and a new checkout does not have it.
    std::fs::create_dir_all("target/guide").expect("a folder for outputs");
    let cases = trycmd::TestCases::new();
    for name in [
        "xsplice-build",
        "xsplice-diff",
        "xsplice-link",
        "xsplice-ctl",
    ] {
        cases.register_bin(name, tools::folder().join(name));
    }
    let (variable, version) = tools::PAYLOAD_VERSION;
    cases.env(variable, version);
    let include = workspace().join("runtime/include");
    cases.env(
        "XSPLICE_INCLUDE",
        include.to_str().expect("a path in UTF-8"),
    );
    cases
        .case("README.md")
        .case("docs/*.md")
        .case("docs/fixes/*.md");
}

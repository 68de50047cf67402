//! `xsplice-diff ORIGINAL PATCHED`: see `xsplice-diff --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    xsplice_diff::command::main()
}

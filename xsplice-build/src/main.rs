//! The `xsplice-build` command; see the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use xsplice_build::command::arguments::Request;
use xsplice_build::{ExitStatus, run};
use xsplice_console::process::{answer_failure, answer_usage};
use xsplice_console::terminal::print;
use xsplice_diff::tell::code_page;

fn main() -> ExitCode {
    let request = match Request::parse(std::env::args_os()) {
        Ok(request) => request,
        Err(usage) => return answer_usage(&usage).into(),
    };
    let result = match request {
        Request::Build(arguments) => run(&arguments),
        Request::ExplainCode(code) => match code_page::explain(&code) {
            Ok(page) => print(&page).map(|()| ExitStatus::Done).map_err(Into::into),
            Err(error) => Err(error.into()),
        },
    };
    let status = result.unwrap_or_else(|error| answer_failure("xsplice-build", error.as_ref()));
    status.into()
}

//! The `xsplice-build` command; see the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use xsplice_build::command::arguments::Request;
use xsplice_build::{ExitStatus, run};
use xsplice_diff::command::terminal::{complain, print, with_causes};
use xsplice_diff::tell::code_page;

fn main() -> ExitCode {
    let request = match Request::parse(std::env::args_os()) {
        Ok(request) => request,
        Err(error) => {
            // Printing help fails only when nobody listens.
            let _ = error.print();
            let status = if error.use_stderr() {
                ExitStatus::CouldNotRun
            } else {
                ExitStatus::Done
            };
            return status.into();
        }
    };
    let result = match request {
        Request::Build(arguments) => run(&arguments),
        Request::ExplainCode(code) => match code_page::explain(&code) {
            Ok(page) => print(&page).map(|()| ExitStatus::Done).map_err(Into::into),
            Err(error) => Err(error.into()),
        },
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            // Nowhere is left to say that this could not be said.
            let _ = complain(&format!("xsplice-build: {}\n", with_causes(error.as_ref())));
            ExitStatus::CouldNotRun.into()
        }
    }
}

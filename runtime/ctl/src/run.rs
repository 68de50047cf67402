//! Runs the command line: one function for each verb.

use clap::CommandFactory;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use xsplice_abi::Errno;
use xsplice_abi::channel::{CALL_DUMP, CALL_INFO, CALL_TEST};

use crate::action::{Goal, Outcome, Plan, perform};
use crate::arguments::{
    ApplyOptions, Arguments, Command, DependencyOption, GoalOption, TimeoutOption,
};
use crate::calls::{ActionKind, Dependencies, KernelTimeout, PayloadName, get};
use crate::error::CtlError;
use crate::list::list;
use crate::load::{Uploaded, apply_or_unload, name_of, read_payload, upload_for};
use crate::report::{Columns, Format, Report};
use crate::request::Request;
use crate::transport::{SocketTransport, Transport};

/// Runs the command in `arguments`, and writes results to `out`.
///
/// # Errors
/// Why it failed; with `--json` this has been written to `out` as well.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), CtlError> {
    let format = if arguments.json {
        Format::Json
    } else {
        Format::Text
    };
    let mut report = Report { out, format };
    let Some(command) = &arguments.command else {
        write!(report.out, "{}", Arguments::command().render_help())?;
        return Ok(());
    };
    let result = connect_and_run(arguments, command, &mut report);
    if let Err(error) = &result {
        report.error(error)?;
    }
    result
}

fn connect_and_run(
    arguments: &Arguments,
    command: &Command,
    report: &mut Report<'_>,
) -> Result<(), CtlError> {
    let socket = arguments.socket.as_deref().ok_or(CtlError::NoSocket)?;
    let wait = arguments.wait;
    // What can be wrong with the arguments is found before the kernel is asked.
    match command {
        Command::Upload { name, file, goal } => {
            let name = PayloadName::new(name)?;
            upload((socket, wait), report, &name, file, goal.into())
        }
        Command::Load { file, name, apply } => {
            let name = match name {
                Some(name) => PayloadName::new(name)?,
                None => name_of(file)?,
            };
            let plan = apply_plan(ActionKind::Apply, apply, wait);
            load(socket, report, &name, file, &plan)
        }
        Command::Get { name } => {
            let name = PayloadName::new(name)?;
            let transport = &mut SocketTransport::connect(socket, wait)?;
            match get(transport, &name)? {
                Some(status) => report.status(name.as_str(), status),
                None => Err(name.refused(Request::Get, Errno::ENOENT, None)),
            }
        }
        Command::List { metadata } => {
            let columns = if *metadata {
                Columns::Metadata
            } else {
                Columns::Status
            };
            let transport = &mut SocketTransport::connect(socket, wait)?;
            report.list(&list(transport)?, columns)
        }
        Command::Info => {
            let text = text_call(socket, wait, (CALL_INFO, Request::Info), "")?;
            report.facts(&text)
        }
        Command::Dump => {
            let text = text_call(socket, wait, (CALL_DUMP, Request::Dump), "")?;
            report.text(&text)
        }
        Command::Test { words } => {
            let call = (CALL_TEST, Request::Test);
            let text = text_call(socket, wait, call, &words.join(" "))?;
            report.text(&text)
        }
        Command::Check { name, dependencies } => {
            let plan = Plan {
                dependencies: dependencies.into(),
                ..plan(ActionKind::Check, wait)
            };
            act(socket, report, name, &plan)
        }
        Command::Apply { name, apply } => act(
            socket,
            report,
            name,
            &apply_plan(ActionKind::Apply, apply, wait),
        ),
        Command::Revert {
            name,
            timeout,
            goal,
        } => {
            let plan = Plan {
                timeout: timeout.into(),
                goal: goal.into(),
                ..plan(ActionKind::Revert, wait)
            };
            act(socket, report, name, &plan)
        }
        Command::Replace {
            name,
            timeout,
            goal,
        } => {
            let plan = Plan {
                timeout: timeout.into(),
                goal: goal.into(),
                ..plan(ActionKind::Replace, wait)
            };
            act(socket, report, name, &plan)
        }
        Command::Unload { name, goal } => {
            let plan = Plan {
                goal: goal.into(),
                ..plan(ActionKind::Unload, wait)
            };
            act(socket, report, name, &plan)
        }
    }
}

/// Uploads a payload. `(socket, wait)` say whom to ask and how long.
fn upload(
    (socket, wait): (&Path, Duration),
    report: &mut Report<'_>,
    name: &PayloadName,
    file: &Path,
    goal: Goal,
) -> Result<(), CtlError> {
    let payload = read_payload(file)?;
    let transport = &mut SocketTransport::connect(socket, wait)?;
    let result = upload_step(transport, report, name, file, &payload, goal);
    let result = result.map(Outcome::from);
    report.end(name.as_str(), "upload", &result)?;
    result.map(drop)
}

/// Uploads a payload and applies it; one that cannot be applied is unloaded again.
fn load(
    socket: &Path,
    report: &mut Report<'_>,
    name: &PayloadName,
    file: &Path,
    plan: &Plan,
) -> Result<(), CtlError> {
    let payload = read_payload(file)?;
    let transport = &mut SocketTransport::connect(socket, plan.limit)?;
    let uploaded = upload_step(transport, report, name, file, &payload, plan.goal);
    report.end_step(uploaded.as_ref().map(|uploaded| (*uploaded).into()))?;
    let uploaded = uploaded?;
    report.begin("Performing apply")?;
    let result = apply_or_unload(transport, name, plan, uploaded);
    report.end(name.as_str(), "load", &result)?;
    result.map(drop)
}

fn act(socket: &Path, report: &mut Report<'_>, name: &str, plan: &Plan) -> Result<(), CtlError> {
    let name = PayloadName::new(name)?;
    let transport = &mut SocketTransport::connect(socket, plan.limit)?;
    report.begin(&format!("Performing {}", plan.kind))?;
    let result = perform(transport, &name, plan);
    report.end(name.as_str(), plan.kind.word(), &result)?;
    result.map(drop)
}

/// Uploads and announces it; the caller prints the result.
fn upload_step(
    transport: &mut dyn Transport,
    report: &mut Report<'_>,
    name: &PayloadName,
    file: &Path,
    payload: &[u8],
    goal: Goal,
) -> Result<Uploaded, CtlError> {
    let (file, length) = (file.display(), payload.len());
    report.begin(&format!("Uploading {file} ({length} bytes) as {name}"))?;
    upload_for(transport, name, payload, goal)
}

fn text_call(
    socket: &Path,
    wait: Duration,
    (call, what): (u32, Request),
    request: &str,
) -> Result<String, CtlError> {
    let (result, text) = SocketTransport::connect(socket, wait)?.text(call, request)?;
    match Errno::from_return(result) {
        Some(errno) => Err(CtlError::Call { what, errno }),
        None => Ok(text),
    }
}

fn plan(kind: ActionKind, limit: Duration) -> Plan {
    Plan {
        kind,
        timeout: KernelTimeout::default(),
        dependencies: Dependencies::Enforced,
        goal: Goal::Act,
        limit,
    }
}

fn apply_plan(kind: ActionKind, options: &ApplyOptions, limit: Duration) -> Plan {
    Plan {
        timeout: (&options.timeout).into(),
        dependencies: (&options.dependencies).into(),
        goal: (&options.goal).into(),
        ..plan(kind, limit)
    }
}

impl From<&TimeoutOption> for KernelTimeout {
    fn from(option: &TimeoutOption) -> KernelTimeout {
        option.timeout
    }
}

impl From<&DependencyOption> for Dependencies {
    fn from(option: &DependencyOption) -> Dependencies {
        if option.nodeps {
            Dependencies::Ignored
        } else {
            Dependencies::Enforced
        }
    }
}

impl From<&GoalOption> for Goal {
    fn from(option: &GoalOption) -> Goal {
        if option.if_needed {
            Goal::BeThere
        } else {
            Goal::Act
        }
    }
}

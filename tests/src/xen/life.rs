//! The life of one payload: uploaded, listed, applied, reverted, applied again or refused that,
//! unloaded, with every effect of its change looked at on the way.

use std::path::PathBuf;

use super::change::{Change, Course, Effect, Sight};
use super::prophecy::Prophecy;
use super::scenario::{Foretold, Placed, Scenario, Step, Text};

/// What the stock tool prints when the loader refuses something.
pub const INVALID: &str = "Error 22: Invalid argument";
/// The same payload is there already.
pub const EXISTS: &str = "Error 17: File exists";
/// Not with hooks that may veto.
pub const UNSUPPORTED: &str = "Error 95: Operation not supported";
/// Something is in the way, or the CPUs did not come together in time.
pub const BUSY: &str = "Error 16: Device or resource busy";
/// The stock tool's exit status for an error.
pub const FAILED: i32 = 1;
/// The stock tool's exit status for "try again".
pub const TRY_AGAIN: i32 = 2;

/// Whether the changed or the unchanged code is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Before the payload is applied, and after it is reverted.
    Unpatched,
    /// While it is applied.
    Patched,
}

/// One payload as the scenarios use it.
#[derive(Debug, Clone)]
pub struct Made {
    /// The change it was made from.
    pub change: &'static Change,
    /// How it is taken through its life.
    pub course: Course,
    /// The file.
    pub path: PathBuf,
}

fn look(effect: &Effect, code: Code) -> Step {
    let sight = match code {
        Code::Unpatched => effect.unpatched,
        Code::Patched => effect.patched,
    };
    let when = match code {
        Code::Unpatched => "unpatched",
        Code::Patched => "patched",
    };
    let text = match sight {
        Sight::Prints(words) => Text::Output(words.to_owned()),
        Sight::Omits(words) => Text::OutputLacks(words.to_owned()),
        Sight::ConsoleSays(words) => Text::Console(words.to_owned()),
        Sight::ConsoleOmits(words) => Text::ConsoleLacks(words.to_owned()),
    };
    Step::new(
        format!("look while {when}: {}", effect.command),
        effect.command,
    )
    .exits_somehow()
    .says(text)
}

/// Looks at every effect of a change.
pub fn looks(change: &Change, code: Code) -> Vec<Step> {
    change
        .effects
        .iter()
        .map(|effect| look(effect, code))
        .collect()
}

/// Uploads the payload of that name.
pub fn upload(name: &str) -> Step {
    Step::new(
        format!("upload {name}"),
        format!("xen-livepatch upload {name} /p/{name}"),
    )
}

/// An action of the stock tool that must succeed, repeated while the machine is busy.
pub fn act(action: &str, name: &str) -> Step {
    Step::new(
        format!("{action} {name}"),
        format!("xen-livepatch {action} {name}"),
    )
    .retried()
}

/// The payload is listed in that state.
pub fn listed(name: &str, state: &str) -> Step {
    Step::new(
        format!("list: {name} {state}"),
        format!("xen-livepatch list | grep '^{name} '"),
    )
    .says(Text::Output(format!("| {state}")))
}

/// The payload is not listed.
pub fn gone(name: &str) -> Step {
    Step::new(
        format!("list: no {name}"),
        format!("xen-livepatch list | grep '^{name} '"),
    )
    .exits(FAILED)
}

fn with_console(mut step: Step, words: &[&str]) -> Step {
    for word in words {
        step = step.says(Text::Console((*word).to_owned()));
    }
    step
}

/// Applies a payload that was reverted, without a new upload: that works, or is refused because it
/// has data of its own.
pub fn act_again(name: &str, prophecy: &Prophecy) -> Step {
    let foretold = prophecy.apply_again();
    let step = act("apply", name).foretold(&foretold);
    match foretold {
        Foretold::Takes => step,
        Foretold::Refuses { .. } => step.exits(FAILED),
    }
}

/// One payload's life from upload to unload, with every effect looked at on the way.
pub fn life(made: &Made, prophecy: &Prophecy) -> Scenario {
    let change = made.change;
    let name = change.name;
    let mut steps = looks(change, Code::Unpatched);
    steps.push(upload(name).foretold(&prophecy.upload()));
    steps.push(listed(name, "CHECKED"));
    if made.course == Course::VetoedFirst {
        steps.push(
            act("apply", name)
                .exits(FAILED)
                .says(Text::Output("Error 1: Operation not permitted".to_owned()))
                .says(Text::Console("preapply hook vetoes".to_owned())),
        );
        steps.extend(looks(change, Code::Unpatched));
    }
    steps.push(with_console(
        act("apply", name).foretold(&prophecy.apply()),
        change.applying,
    ));
    steps.push(listed(name, "APPLIED"));
    steps.extend(looks(change, Code::Patched));
    if made.course == Course::VetoedFirst {
        steps.push(
            act("revert", name)
                .exits(FAILED)
                .says(Text::Output("Error 1: Operation not permitted".to_owned()))
                .says(Text::Console("prerevert hook vetoes".to_owned())),
        );
        steps.extend(looks(change, Code::Patched));
    }
    steps.push(with_console(act("revert", name), change.reverting));
    steps.extend(looks(change, Code::Unpatched));
    match made.course {
        Course::Repeatable => {
            let again = act("apply", name).foretold(&prophecy.apply_again());
            steps.push(with_console(again, change.applying));
            steps.extend(looks(change, Code::Patched));
            steps.push(with_console(act("revert", name), change.reverting));
            steps.extend(looks(change, Code::Unpatched));
        }
        Course::OnceOnly | Course::VetoedFirst => {
            steps.push(
                act("apply", name)
                    .exits(FAILED)
                    .says(Text::Output(INVALID.to_owned()))
                    .foretold(&prophecy.apply_again()),
            );
            steps.extend(looks(change, Code::Unpatched));
        }
    }
    steps.push(Step::new(
        format!("unload {name}"),
        format!("xen-livepatch unload {name}"),
    ));
    steps.push(gone(name));
    Scenario {
        name: name.to_owned(),
        expected: format!("{}: seen, gone after revert", change.about),
        payloads: vec![Placed {
            name: name.to_owned(),
            path: made.path.clone(),
        }],
        steps,
    }
}

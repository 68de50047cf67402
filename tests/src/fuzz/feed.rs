//! Gives files to the rooms. Whatever the rooms answer is fine, as long as they answer.

use xsplice_abi::profile;
use xsplice_diff::ObjectDiff;
use xsplice_diff::Options;
use xsplice_diff::Originals;
use xsplice_diff::debug_info::source_lines::{defined, source_lines};
use xsplice_diff::diff_objects;
use xsplice_diff::extract;
use xsplice_diff::originals;
use xsplice_diff::report::ripple;
use xsplice_diff::source_files;
use xsplice_diff::take_whole;
use xsplice_diff::tell::explain::explain;
use xsplice_diff::tell::referrers::Sought;
use xsplice_diff::tell::text::{self, Detail};
use xsplice_link::Base;
use xsplice_link::LinkOptions;
use xsplice_link::inspect;
use xsplice_link::link;
use xsplice_link::proof::prove_object;
use xsplice_link::sign::Signer;
use xsplice_link::verify::{Against, NamedFile, verify};

use super::{Input, Target};
use crate::case::BASE;

/// What messages call an object.
const OBJECT: &str = "fuzz.o";

/// Feeds `input` to everything that `target` stands for.
pub fn feed(target: Target, input: &Input, signer: &Signer) {
    match target {
        Target::Patched | Target::Original | Target::Both | Target::Crossed => {
            objects(target, input);
        }
        Target::Extract | Target::Base => linker(input),
        Target::Payload | Target::Signed => payload(target, input, signer),
    }
}

fn objects(target: Target, input: &Input) {
    let options = Options::default();
    if let Ok(diff) = diff_objects(OBJECT, &input.original, &input.patched, &options) {
        tell(&diff);
        through_a_file(&diff);
        let diffs = std::slice::from_ref(&diff);
        let _ = ripple::ripple(diffs);
        callers(diffs, input);
    }
    let _ = source_files(OBJECT, &input.patched);
    let _ = source_lines(OBJECT, &input.patched, &[""], |_| true);
    let _ = defined(OBJECT, &input.patched);
    match target {
        Target::Original => {
            let _ = originals(OBJECT, &input.original);
        }
        Target::Patched => {
            if let Ok(diff) = take_whole(OBJECT, &input.patched, &options) {
                through_a_file(&diff);
            }
        }
        _ => {}
    }
}

/// Who refers to what differs.
fn callers(diffs: &[ObjectDiff<'_>], input: &Input) {
    let mut sought = Sought::new(diffs);
    if sought
        .add_names(OBJECT, &input.patched, &profile::XSPLICE)
        .is_ok()
        && let Ok(found) = sought.look(OBJECT, &input.patched, &profile::XSPLICE)
    {
        let _ = sought.gather([found]);
    }
}

/// Everything that is said about a difference.
fn tell(diff: &ObjectDiff<'_>) {
    let mut out = String::new();
    text::render(diff, Detail::Everything, &mut out);
    let _ = text::refusals(diff);
    let _ = explain(diff);
}

/// Serialises the report and takes the extract through its file form.
fn through_a_file(diff: &ObjectDiff<'_>) {
    serde_json::to_string(diff).expect("a report can always be written");
    if let Some(found) = &diff.extract {
        let file = extract::write(found);
        extract::read(&file).expect("what was written can be read");
    }
}

fn linker(input: &Input) {
    let Ok(extract) = extract::read(&input.extract) else {
        return;
    };
    let Ok(base) = Base::parse(BASE, &input.base) else {
        return;
    };
    let functions = extract
        .records
        .iter()
        .map(|record| record.original.clone())
        .collect();
    let items = Originals {
        functions,
        constants: Vec::new(),
    };
    let _ = prove_object(&base, OBJECT, &items);
    for profile in profile::ALL {
        let options = LinkOptions::new("fuzz", profile);
        if let Ok(payload) = link(&base, std::slice::from_ref(&extract), &options) {
            judge(&base, named("fuzz", &payload.bytes), &[], None);
        }
    }
}

fn payload(target: Target, input: &Input, signer: &Signer) {
    if let Ok(inspection) = inspect::inspect("fuzz", &input.payload) {
        let _ = inspection.to_string();
    }
    let Ok(base) = Base::parse(BASE, &input.base) else {
        return;
    };
    let (subject, sound) = (named("fuzz", &input.payload), named("sound", &input.sound));
    if target == Target::Signed {
        judge(&base, subject, &[], Some(signer));
        return;
    }
    judge(&base, subject, &[], None);
    judge(&base, subject, &[sound], None);
    judge(&base, sound, &[subject], None);
}

fn named<'a>(path: &'a str, bytes: &'a [u8]) -> NamedFile<'a> {
    NamedFile { path, bytes }
}

fn judge(
    base: &Base<'_>,
    payload: NamedFile<'_>,
    stack: &[NamedFile<'_>],
    signer: Option<&Signer>,
) {
    let against = Against {
        base,
        stack,
        deny: &[],
        signer,
    };
    let _ = verify(payload, against);
}

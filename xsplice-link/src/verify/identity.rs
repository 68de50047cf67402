//! Ids and size: whether this is the file that was linked, and whether it is for this base and this
//! stack.

use sha1::{Digest as _, Sha1};
use xsplice_abi::errno::Errno;
use xsplice_abi::limits::PAYLOAD_BYTES_MAX;
use xsplice_abi::note::{BUILD_ID_BYTES, Header};
use xsplice_abi::profile::BaseNote;
use xsplice_abi::section;

use super::{Check, CheckKind, Lines, Subject};
use crate::build_id::BuildId;
use crate::sign;

/// What this linker writes into `.modinfo`. It is searched in the whole file, because the section's
/// name may be damaged.
const MARK: &[u8] = b"\0tool=xsplice-link ";

pub(super) fn check(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    size(subject, checks);
    own_id(subject, checks);
    base_id(subject, checks);
    depends(subject, checks);
}

fn size(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::Size);
    let bytes = subject.payload.bytes.len();
    if bytes > PAYLOAD_BYTES_MAX {
        lines.fail(
            Errno::EINVAL,
            format!("{bytes} bytes; a loader takes {PAYLOAD_BYTES_MAX}"),
        );
    }
    lines.pass(format!("{bytes} bytes of at most {PAYLOAD_BYTES_MAX}"));
}

/// The id must exist, must not be that of the base or another payload, and, where this linker wrote
/// it, must be the hash of the content.
fn own_id(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::BuildId);
    let Some(id) = &subject.facts.build_id else {
        lines.fail(Errno::EINVAL, "the payload has no build-id of its own");
        return;
    };
    if id == subject.base.build_id() {
        lines.fail(Errno::EEXIST, "the payload has the base's build-id");
    }
    for (below, file) in subject.stack.iter().zip(subject.stack_files) {
        if below.build_id.as_ref() == Some(id) {
            lines.fail(
                Errno::EEXIST,
                format!("{} has the same build-id", file.path),
            );
        }
    }
    let is_ours = subject
        .payload
        .bytes
        .windows(MARK.len())
        .any(|bytes| bytes == MARK);
    if is_ours && content_hash(subject).as_ref() != Some(id) {
        lines.fail_unseen(
            "the build-id is not the hash of the content: the file was changed after it was linked",
        );
    }
    lines.pass(id.to_string());
}

/// SHA-1 over the unsigned file with a zero id.
fn content_hash(subject: &Subject<'_, '_, '_>) -> Option<BuildId> {
    let content = sign::content(subject.payload.bytes);
    let (_, note) = subject.facts.view.named("", section::BUILD_ID)?;
    let start = usize::try_from(note.offset)
        .ok()?
        .checked_add(size_of::<Header>())?;
    let end = start.checked_add(BUILD_ID_BYTES)?;
    let mut hash = Sha1::new();
    hash.update(content.get(..start)?);
    hash.update([0; BUILD_ID_BYTES]);
    hash.update(content.get(end..)?);
    BuildId::new(&hash.finalize())
}

fn base_id(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    if subject.facts.abi.base_note == BaseNote::Absent {
        return;
    }
    let mut lines = Lines::new(checks, CheckKind::BaseId);
    let expected = subject.base.build_id();
    match &subject.facts.base_id {
        None => lines.fail(
            Errno::EINVAL,
            "the payload does not say which base it is for",
        ),
        Some(id) if id != expected => lines.fail(
            Errno::EINVAL,
            format!(
                "made for the base {id}, {} is {expected}",
                subject.base.path()
            ),
        ),
        Some(_) => {}
    }
    lines.pass(format!("made for {expected}"));
}

/// The payload depends on the top of the stack, and each payload of the stack on the one below it,
/// down to the base.
fn depends(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::Depends);
    let mut below = Some(subject.base.build_id());
    let mut below_path = subject.base.path();
    let all = subject.stack.iter().zip(subject.stack_files);
    let all = all.map(|(facts, file)| (facts.depends.as_ref(), facts.build_id.as_ref(), file.path));
    let own = (
        subject.facts.depends.as_ref(),
        subject.facts.build_id.as_ref(),
        subject.payload.path,
    );
    for (depends, build_id, path) in all.chain([own]) {
        let wrong = match (depends, below) {
            (None, _) => Some(format!("{path} does not say what it stacks on")),
            (Some(depends), Some(expected)) if depends != expected => Some(format!(
                "{path} stacks on {depends}, and below it is {below_path}, {expected}"
            )),
            _ => None,
        };
        match wrong {
            Some(message) if path == subject.payload.path => lines.fail(Errno::EINVAL, message),
            Some(message) => lines.fail_unseen(message),
            None => {}
        }
        below = build_id;
        below_path = path;
    }
    lines.pass(match subject.stack.len() {
        0 => "stacks on the base".to_owned(),
        1 => "stacks on 1 payload".to_owned(),
        count => format!("stacks on {count} payloads"),
    });
}

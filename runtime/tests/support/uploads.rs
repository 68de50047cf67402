//! Uploads that must be refused, or taken.

use xsplice_abi::Errno;
use xsplice_runtime::patch::memory::Event;
use xsplice_runtime::platform::Level;

use super::{Caller, Maker, runtime};

/// Uploads and finds the errno, the words of the message, and that memory is as before.
#[track_caller]
pub(crate) fn refused(file: &[u8], errno: Errno, says: &str) {
    let runtime = runtime();
    let before = runtime.platform().snapshot();
    let result = runtime.upload("bad", file);
    let log = log_of(&runtime.platform().take_events());
    assert_eq!(result, errno.negated(), "{log}");
    assert!(log.contains(says), "the message is: {log}");
    assert_eq!(runtime.platform().snapshot(), before, "memory is as before");
    assert_eq!(runtime.get("bad"), Err(Errno::ENOENT.negated()));
    assert_eq!(
        runtime.upload("good", &Maker::new(9).write()),
        0,
        "the next upload works"
    );
}

/// The same, and that the platform is not asked for memory: the file alone shows it.
#[track_caller]
pub(crate) fn refused_before_memory(file: &[u8], errno: Errno, says: &str) {
    refused(file, errno, says);
    let runtime = runtime();
    runtime.upload("bad", file);
    let events = runtime.platform().take_events();
    let is_asked = |event: &Event| matches!(event, Event::Allocate(_));
    assert!(!events.iter().any(is_asked), "{says}: {events:?}");
}

#[track_caller]
pub(crate) fn taken(maker: &Maker) {
    file_taken(&maker.write());
}

#[track_caller]
pub(crate) fn file_taken(file: &[u8]) {
    let runtime = runtime();
    let result = runtime.upload("good", file);
    let log = log_of(&runtime.platform().take_events());
    assert_eq!(result, 0, "{log}");
}

pub(crate) fn log_of(events: &[Event]) -> String {
    let lines = events.iter().filter_map(|event| match event {
        Event::Log(Level::Error, line) => Some(line.as_str()),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(crate) fn changed(change: impl FnOnce(&mut Maker)) -> Maker {
    let mut maker = Maker::new(1);
    change(&mut maker);
    maker
}

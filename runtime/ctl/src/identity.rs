//! Compares the build-id of a loaded payload with that of a file.
//!
//! No payload call tells the id of what is loaded, so it is read from the text that the console
//! key prints.

use xsplice_abi::Errno;
use xsplice_abi::channel::CALL_DUMP;
use xsplice_abi::note::build_id;
use xsplice_abi::section::BUILD_ID;
use xsplice_runtime::payload::BuildId;
use xsplice_runtime::read::elf;

use crate::calls::PayloadName;
use crate::error::CtlError;
use crate::request::Request;
use crate::transport::Transport;

/// Fails unless the payload that is loaded as `name` is the one in `file`.
pub(crate) fn assert_same(
    transport: &mut dyn Transport,
    name: &PayloadName,
    file: &[u8],
) -> Result<(), CtlError> {
    let (result, dump) = transport.text(CALL_DUMP, "")?;
    if let Some(errno) = Errno::from_return(result) {
        let what = Request::Dump;
        return Err(CtlError::Call { what, errno });
    }
    let (loaded, given) = (loaded_id(&dump, name.as_str()), file_id(file));
    if loaded.is_some() && loaded == given {
        return Ok(());
    }
    let or_none = |id: Option<String>| id.unwrap_or_else(|| "none".to_owned());
    Err(CtlError::OtherThere {
        name: name.to_string(),
        loaded: or_none(loaded),
        given: or_none(given),
    })
}

/// The build-id that the dump gives for the payload `name`, in hexadecimal.
fn loaded_id(dump: &str, name: &str) -> Option<String> {
    let mut lines = dump.lines();
    lines.find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(" state="))
    })?;
    let id = lines.next()?.trim_start().strip_prefix("build-id: ")?;
    Some(id.to_owned())
}

/// The build-id of a payload's file, in hexadecimal; `None` when it is no payload.
fn file_id(file: &[u8]) -> Option<String> {
    let (_, sections) = elf::sections(file).ok()?;
    let note = sections.iter().find(|section| section.name == BUILD_ID)?;
    Some(BuildId::new(build_id(note.data)?).to_string())
}

#[cfg(test)]
mod tests {
    use super::{file_id, loaded_id};

    const DUMP: &str = "build-id: 00\npayloads: 2, applied: 1, epoch: 3\n\
        fix-2 state=CHECKED rc=0 abi=xsplice\n  build-id: 02\n  depends:  00\n\
        fix state=APPLIED rc=0 stack=0 abi=xsplice\n  build-id: 01\n  depends:  00\n";

    #[test]
    fn the_id_is_that_of_the_whole_name() {
        assert_eq!(loaded_id(DUMP, "fix").as_deref(), Some("01"));
        assert_eq!(loaded_id(DUMP, "fix-2").as_deref(), Some("02"));
        assert_eq!(loaded_id(DUMP, "fi"), None);
        assert_eq!(loaded_id("", "fix"), None);
    }

    #[test]
    fn what_is_no_payload_has_no_id() {
        assert_eq!(file_id(b"payload"), None);
    }
}

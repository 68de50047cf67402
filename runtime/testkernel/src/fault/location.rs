//! Names for addresses, and the tables of payloads, as traps need them: by the runtime, whose
//! functions for this take no lock that an upload holds for long.

use core::fmt;

use xsplice_runtime::platform::Platform;

use crate::fault::tables::{BugReport, FILE_NAME_MAX, FileName};
use crate::platform::{self, Machine};

/// Kind of a bug frame that names a function, not a file.
const BUG_RUN_FUNCTION: u8 = 0;

/// Prints which function, of the image or of a payload, an address belongs to; nothing for any
/// other address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location(pub u64);

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(runtime) = platform::runtime() else {
            return Ok(());
        };
        if let Some(function) = runtime.base().symbols.function_at(self.0) {
            let offset = self.0 - function.address;
            return write!(out, ", in {function}+{offset:#x}/{:#x}", function.size);
        }
        let mut named = Introduced {
            out,
            introduction: Some(", in "),
        };
        runtime.describe(self.0, &mut named)
    }
}

/// Puts its introduction before the first text written, if any is.
struct Introduced<'out, 'inner> {
    out: &'out mut fmt::Formatter<'inner>,
    introduction: Option<&'static str>,
}

impl fmt::Write for Introduced<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(introduction) = self.introduction.take() {
            self.out.write_str(introduction)?;
        }
        self.out.write_str(text)
    }
}

/// Where a payload's exception table continues after a fault at `address`.
pub(crate) fn payload_fixup(address: u64) -> Option<u64> {
    platform::runtime()?.exception(address)
}

/// The bug frame of a payload whose `ud2` stands at `address`.
pub(crate) fn payload_bug(address: u64) -> Option<BugReport> {
    let bug = platform::runtime()?.bug(address)?;
    let file = if bug.kind == BUG_RUN_FUNCTION {
        FileName::default()
    } else {
        name_at(bug.pointer)
    };
    Some(BugReport {
        kind: u32::from(bug.kind),
        file,
        line: bug.line,
        address,
    })
}

/// The name at `address`, up to its NUL, the end of what is mapped, or the longest that is kept.
fn name_at(address: u64) -> FileName {
    let mut name = [0; FILE_NAME_MAX];
    let mut length = 0;
    for (address, byte) in (address..).zip(&mut name) {
        if Machine.read(address, core::slice::from_mut(byte)).is_err() || *byte == 0 {
            break;
        }
        length += 1;
    }
    FileName::new(&name[..length])
}

//! The toolchain of the base: compilers and flags of its units, and the linker where it recorded
//! its name. GNU ld does not.

use object::read::elf::SectionHeader as _;
use serde::Serialize;
use xsplice_diff::debug_info::toolchain::Toolchain;

use super::dwarf::DebugInfo;
use super::{LE, Sections};

/// Prefixes by which linkers identify themselves in `.comment`.
const LINKERS: [&str; 2] = ["Linker: ", "mold "];
/// The section in which gold records its version.
const GOLD: &[u8] = b".note.gnu.gold-version";

/// The toolchain of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BaseToolchain {
    /// Compilers, flags and protections of everything that was linked.
    #[serde(flatten)]
    pub compiled_by: Toolchain,
    /// The linker; `None` for one that does not record its name, such as GNU ld.
    pub linker: Option<String>,
}

/// The sections with the information, found when the image is parsed and read on request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks<'data> {
    comment: &'data [u8],
    gold: &'data [u8],
    property: &'data [u8],
}

impl<'data> Marks<'data> {
    pub(super) fn new(table: &Sections<'data>, data: &'data [u8]) -> Marks<'data> {
        let section = |name: &[u8]| {
            table
                .section_by_name(LE, name)
                .and_then(|(_, header)| header.data(LE, data).ok())
                .unwrap_or_default()
        };
        Marks {
            comment: section(b".comment"),
            gold: section(GOLD),
            property: section(b".note.gnu.property"),
        }
    }

    /// Reads them, and the producers of the image's units.
    pub(super) fn read(self, debug_info: &DebugInfo<'_>) -> BaseToolchain {
        let mut made = BaseToolchain::default();
        made.compiled_by.add_comment(self.comment);
        made.compiled_by.add_properties(self.property);
        let is_linker = |text: &String| LINKERS.iter().any(|start| text.starts_with(start));
        let mut linkers = made.compiled_by.compilers.extract_if(.., is_linker);
        made.linker = linkers
            .next()
            .map(|text| text.trim_start_matches("Linker: ").to_owned());
        drop(linkers);
        if made.linker.is_none() && !self.gold.is_empty() {
            /// n_namesz, n_descsz, n_type, "GNU\0".
            const NOTE_HEADER_BYTES: usize = 16;
            let text = self.gold.get(NOTE_HEADER_BYTES..).unwrap_or_default();
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            made.linker = Some(String::from_utf8_lossy(text).into_owned());
        }
        for producer in debug_info.producers() {
            made.compiled_by.add_producer(&producer);
        }
        made
    }
}

//! Why a proof failed, and which cause that suggests.

use xsplice_diff::OriginalItem;
use xsplice_diff::debug_info::toolchain::Toolchain;
use xsplice_diff::machine::{Instruction, Machine, walk};

use crate::base::{Base, QualifiedName};
use crate::error::{Refusal, RefusalCode};

/// The first place where an original item and the base differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFailure {
    /// Offset in the item, in bytes.
    pub offset: u64,
    /// Address in the base.
    pub address: u64,
    /// What differs.
    pub kind: FailureKind,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The address is not in the image, or its section ends early.
    OutsideImage,
    /// Bytes that the linker does not change.
    BytesDiffer {
        /// The object's.
        expected: u8,
        /// The base's.
        found: u8,
    },
    /// A field refers to something else.
    TargetDiffers {
        /// What the object refers to.
        expected: String,
        /// What the base refers to.
        found: String,
    },
    /// A string, constant or table has other contents.
    ContentDiffers {
        /// Where the base has it.
        address: u64,
        /// The difference in it.
        inner: Box<ProofFailure>,
    },
    /// A GOT access became something that the psABI does not allow.
    GotAccessDiffers,
    /// An instruction is another than the linker may make of the object's.
    InstructionDiffers,
    /// A field that tells a part of an address, and nothing tells the rest.
    PartAlone,
    /// A relocation type that cannot be followed.
    UnknownRelocation(u32),
    /// The item contradicts itself: a relocation outside its bytes, or two on one field.
    MalformedItem,
    /// The base's symbol has another size.
    SizeDiffers {
        /// The object's.
        expected: u64,
        /// The base's.
        found: u64,
    },
}

impl ProofFailure {
    /// The sentence for people: what differs, and what this suggests. `compiled_by` is the item's
    /// toolchain, where that is known.
    #[must_use]
    pub fn explain(
        &self,
        base: &Base<'_>,
        item: &OriginalItem<'_>,
        compiled_by: Option<&Toolchain>,
    ) -> String {
        let what = self.describe(base.machine());
        format!(
            "the base is not linked from this object: {what}; {}. The original objects must be \
             those of the very build that runs, not a rebuild of it",
            self.suggestion(base, item, compiled_by)
        )
    }

    fn describe(&self, machine: &'static Machine) -> String {
        let at = format!("at +{:#x} ({:#x})", self.offset, self.address);
        match &self.kind {
            FailureKind::OutsideImage => format!("{at} the image holds no such bytes"),
            FailureKind::BytesDiffer { expected, found } => {
                format!("{at} the object has {expected:02x}, the base {found:02x}")
            }
            FailureKind::TargetDiffers { expected, found } => {
                format!("{at} the object refers to {expected}, the base to {found}")
            }
            FailureKind::ContentDiffers { address, inner } => format!(
                "the string or constant that it refers to at +{:#x} differs from the base's at \
                 {address:#x}: {}",
                self.offset,
                inner.describe(machine)
            ),
            FailureKind::GotAccessDiffers => {
                format!("{at} the base has another instruction than a GOT access may become")
            }
            FailureKind::InstructionDiffers => {
                format!("{at} the base has another instruction than the linker may make of it")
            }
            FailureKind::PartAlone => format!(
                "{at} a part of an address is not that of what the object refers to, or nothing \
                 tells the rest of it"
            ),
            FailureKind::UnknownRelocation(kind) => {
                format!(
                    "{at} there is a {} field, which cannot be followed",
                    machine.type_name(*kind)
                )
            }
            FailureKind::MalformedItem => format!("{at} its relocations contradict each other"),
            FailureKind::SizeDiffers { expected, found } => {
                format!("it has {expected} bytes in the object and {found} in the base")
            }
        }
    }

    /// The cause that the difference suggests.
    fn suggestion(
        &self,
        base: &Base<'_>,
        item: &OriginalItem<'_>,
        compiled_by: Option<&Toolchain>,
    ) -> String {
        let start = self.address.wrapping_sub(self.offset);
        let linked = base.bytes_from(start).unwrap_or(&[]);
        let machine = base.machine();
        if machine.is_marked(linked) != machine.is_marked(&item.bytes) {
            return "this suggests other flags: one of the two was compiled with -fcf-protection"
                .to_owned();
        }
        // For code that differs altogether, another toolchain is the most likely cause.
        let foreign = compiled_by.map(|ours| ours.missing_in(&base.toolchain().compiled_by));
        if let Some(foreign) = foreign.filter(|foreign| !foreign.is_empty()) {
            return format!(
                "this suggests another toolchain: the object was compiled by {}, which is not in \
                 the base",
                foreign.join(", ")
            );
        }
        let compiler = match base.compiler() {
            Some(compiler) => format!(" (the base was built by {compiler})"),
            None => String::new(),
        };
        match &self.kind {
            FailureKind::TargetDiffers { .. } | FailureKind::ContentDiffers { .. } => {
                "this suggests another source or configuration: the same code refers to something \
                 else"
                    .to_owned()
            }
            FailureKind::BytesDiffer { .. }
                if is_same_kind(machine, &item.bytes, linked, self.offset) =>
            {
                "this suggests another source: the same instruction with another constant or \
                 structure offset"
                    .to_owned()
            }
            FailureKind::OutsideImage => "this suggests a foreign or truncated image".to_owned(),
            FailureKind::UnknownRelocation(_) | FailureKind::MalformedItem => {
                "this suggests a damaged extract".to_owned()
            }
            FailureKind::BytesDiffer { .. }
            | FailureKind::GotAccessDiffers
            | FailureKind::InstructionDiffers
            | FailureKind::PartAlone
            | FailureKind::SizeDiffers { .. } => {
                format!("this suggests another compiler, other flags or another source{compiler}")
            }
        }
    }

    /// The refusal for a function that is to be replaced.
    #[must_use]
    pub(crate) fn into_refusal(
        self,
        base: &Base<'_>,
        object: &str,
        item: &OriginalItem<'_>,
        compiled_by: &Toolchain,
    ) -> Refusal {
        let name = QualifiedName {
            file: item.file.as_deref(),
            name: &item.name,
        };
        let offset = item.section_offset.saturating_add(self.offset);
        let message = self.explain(base, item, Some(compiled_by));
        Refusal::new(RefusalCode::ProofFailed, object, message)
            .at(&item.section_name, offset)
            .of(name.to_string())
    }
}

/// Whether the instruction around `offset` is the same kind of instruction on both sides.
fn is_same_kind(machine: &Machine, ours: &[u8], linked: &[u8], offset: u64) -> bool {
    let around = |instruction: &Instruction<'_>| instruction.end > offset;
    let (ours, linked) = (
        walk(machine, ours, 0).find(around),
        walk(machine, linked, 0).find(around),
    );
    ours.zip(linked)
        .is_some_and(|(a, b)| a.start == b.start && a.is_same_kind(&b))
}

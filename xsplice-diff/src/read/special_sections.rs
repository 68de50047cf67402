//! Tables whose entries belong to functions: which sections they are, where an entry ends, which
//! bits are line numbers, and what follows an entry along. How entries are laid out is asked of
//! `xsplice_abi::tables`.

use xsplice_abi::machine::EntryForm;
use xsplice_abi::section;
use xsplice_abi::tables::{
    BugFrame, EntrySizes, ForeignTable, Layout, LeadsTo, LineField, SpecialTable,
};

use crate::read::object::{ElfObject, Relocation, Section, SectionId, SymbolPlace};
use crate::read::section_class::begins_with;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    kind: Kind,
}

/// Whose table it is, which says how its entries are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One that our loaders walk.
    Known(SpecialTable),
    /// One of another system.
    Foreign(&'static ForeignTable),
    /// One that looks like a bug table of ours, of a kind that nobody was taught.
    UnknownBugFrames,
}

/// Where the field lies that names the owner of an entry, in bytes: every entry begins with it.
pub(crate) const OWNER_AT: u64 = 0;

/// How line numbers are hidden in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// There are none.
    None,
    /// In the top eight bits of the first two words, and so of the relocations' addends.
    TopBits,
    /// In bytes of the entry that hold nothing else.
    Field(LineField),
}

/// What PC-relative fields of an entry count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The field itself.
    Field,
    /// The start of the entry.
    Entry,
}

/// A table of an object, cut into entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Size of an entry in bytes.
    pub entry_bytes: u64,
    /// How many there are; what is behind them is padding.
    pub entries: u64,
    /// How line numbers are hidden in an entry.
    pub line: Line,
}

/// The table that a section of this name is.
#[must_use]
pub(crate) fn table_for(name: &str) -> Option<Table> {
    /// Exception entries that are walked once, during the boot.
    const EX_TABLE_PRE: &str = ".ex_table.pre";
    let is_numbered = || {
        begins_with(name, BugFrame::SECTIONS)
            && name.strip_prefix(BugFrame::SECTIONS).is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
            })
    };
    let kind = if let Some(known) = SpecialTable::of(name) {
        Kind::Known(known)
    } else if name == EX_TABLE_PRE {
        Kind::Known(SpecialTable::Exceptions)
    } else if let Some(foreign) = ForeignTable::of(name) {
        Kind::Foreign(foreign)
    } else if is_numbered() {
        Kind::UnknownBugFrames
    } else {
        return None;
    };
    Some(Table { kind })
}

impl Table {
    /// What the fields' distances count from.
    #[must_use]
    pub fn origin(self) -> Origin {
        if self.is_bug_frames() {
            Origin::Entry
        } else {
            Origin::Field
        }
    }

    /// Whether line numbers stand in the top bits of the first fields.
    #[must_use]
    pub(crate) fn has_lines_in_addends(self, form: EntryForm) -> bool {
        self.is_bug_frames() && BugFrame::line_field(form).is_none()
    }

    fn is_bug_frames(self) -> bool {
        matches!(
            self.kind,
            Kind::Known(SpecialTable::BugFrames(_)) | Kind::UnknownBugFrames
        )
    }

    fn line(self, form: EntryForm, layout: Option<&Layout>) -> Line {
        match layout.and_then(|layout| layout.line) {
            _ if self.has_lines_in_addends(form) => Line::TopBits,
            Some(field) => Line::Field(field),
            None => Line::None,
        }
    }
}

/// Whether a section of this name holds code that entries of special sections refer to.
#[must_use]
pub(crate) fn is_special_code(name: &str) -> bool {
    matches!(
        name,
        section::FIXUP | section::ALTINSTR_REPLACEMENT | ".altinstr_aux"
    )
}

/// Whether the code of such a section runs in place. Replacements of alternatives do not: each is
/// copied to the code that it replaces.
#[must_use]
pub(crate) fn runs_in_place(name: &str) -> bool {
    matches!(name, section::FIXUP | ".altinstr_aux")
}

/// Cuts a special section into entries. The size of one is what `sh_entsize` says; else, of a
/// table of ours, what its loader reads; else the known layout that the relocations fit; else
/// the distance after which the relocations repeat. A size that merely divides the section's is
/// none. `None`: nothing tells, or what tells is contradicted by the relocations or by the bytes
/// behind the last entry.
#[must_use]
pub(crate) fn cut(
    object: &ElfObject<'_>,
    section: SectionId,
    table: Table,
    sizes: &EntrySizes,
) -> Option<Cut> {
    let fields = Fields::new(object, section);
    let said = fields.header.entry_size;
    let (entry_bytes, layout) = match table.kind {
        Kind::Known(known) => {
            let layout = known.layout(sizes);
            let agrees = said == 0 || said == layout.bytes;
            (agrees && fields.fit(&layout)).then_some((layout.bytes, Some(layout)))
        }
        Kind::Foreign(foreign) if said != 0 => {
            let known = foreign.layouts.iter().find(|layout| layout.bytes == said);
            let fits = match known {
                Some(layout) => fields.fit(layout),
                None => fields.has_owners(said),
            };
            fits.then_some((said, known.copied()))
        }
        Kind::Foreign(foreign) => match fields.known_layout(foreign.layouts) {
            Known::One(layout) => Some((layout.bytes, Some(*layout))),
            Known::Several => None,
            Known::None => {
                let count = |layout: &Layout| layout.mandatory_fields();
                let least = foreign.layouts.iter().map(count).min().unwrap_or(1);
                Some((fields.period(least)?, None))
            }
        },
        Kind::UnknownBugFrames if said != 0 => fields.has_owners(said).then_some((said, None)),
        // Each names its code, and a file or a function.
        Kind::UnknownBugFrames => Some((fields.period(2)?, None)),
    }?;
    Some(Cut {
        entry_bytes,
        entries: fields.entries_of(entry_bytes)?,
        line: table.line(sizes.form, layout.as_ref()),
    })
}

/// Which of several known layouts the relocations fit.
enum Known<'layout> {
    None,
    One(&'layout Layout),
    Several,
}

/// The relocated fields of one table.
struct Fields<'object, 'data> {
    object: &'object ElfObject<'data>,
    header: &'object Section<'data>,
    all: &'object [Relocation],
}

impl<'object, 'data> Fields<'object, 'data> {
    fn new(object: &'object ElfObject<'data>, section: SectionId) -> Fields<'object, 'data> {
        Fields {
            object,
            header: object.section(section),
            all: object.relocations_of(section),
        }
    }

    /// How many entries of `size` bytes there are: as many as have a relocation. Behind them may
    /// be zeros, fewer than an entry's or than what aligns the section.
    fn entries_of(&self, size: u64) -> Option<u64> {
        let last = self.all.last()?.offset;
        let entries = last.checked_div(size)?.checked_add(1)?;
        let used = entries.checked_mul(size)?;
        let rest = self.header.size.checked_sub(used)?;
        let padding = self.header.data.get(usize::try_from(used).ok()?..)?;
        let is_padding =
            padding.iter().all(|byte| *byte == 0) && (rest < size || rest < self.header.alignment);
        is_padding.then_some(entries)
    }

    /// Whether entries of `size` bytes are all that is there, without padding.
    fn tile(&self, size: u64) -> bool {
        self.entries_of(size)
            .and_then(|entries| entries.checked_mul(size))
            == Some(self.header.size)
    }

    fn leads_to_code(&self, field: &Relocation) -> bool {
        match self.object.symbol(field.symbol).place {
            SymbolPlace::Section(id) => self.object.section(id).is_executable(),
            _ => false,
        }
    }

    fn is_undefined(&self, field: &Relocation) -> bool {
        self.object.symbol(field.symbol).place == SymbolPlace::Undefined
    }

    /// Whether each entry of `size` bytes begins with a field that leads to code.
    fn has_owners(&self, size: u64) -> bool {
        let owners = self.all.iter().filter(|field| {
            field.offset.checked_rem(size) == Some(OWNER_AT) && self.leads_to_code(field)
        });
        self.entries_of(size) == Some(owners.count() as u64)
    }

    /// Whether every relocation fills a field of `layout` that leads where this one does, and
    /// every entry has its first.
    fn fit(&self, layout: &Layout) -> bool {
        let Some(entries) = self.entries_of(layout.bytes) else {
            return false;
        };
        let first = self
            .all
            .iter()
            .filter(|field| field.offset % layout.bytes == OWNER_AT);
        let is_of_layout = |field: &Relocation| {
            let known = layout.field(field.offset % layout.bytes);
            known.is_some_and(|known| match known.leads_to {
                LeadsTo::Owner => self.leads_to_code(field),
                LeadsTo::Code | LeadsTo::Replacement => {
                    self.leads_to_code(field) || self.is_undefined(field)
                }
                LeadsTo::Data => !self.leads_to_code(field),
                LeadsTo::Anything => true,
            })
        };
        first.count() as u64 == entries && self.all.iter().all(is_of_layout)
    }

    /// One that needs no padding before those that do.
    fn known_layout<'layout>(&self, layouts: &'layout [Layout]) -> Known<'layout> {
        let fitting = || layouts.iter().filter(|layout| self.fit(layout));
        let only = |mut some: Vec<&'layout Layout>| match (some.pop(), some.is_empty()) {
            (None, _) => Known::None,
            (Some(layout), true) => Known::One(layout),
            (Some(_), false) => Known::Several,
        };
        match only(fitting().filter(|layout| self.tile(layout.bytes)).collect()) {
            Known::None => only(fitting().collect()),
            known => known,
        }
    }

    /// The distance after which the relocations repeat: their types, and which of them lead to
    /// code. An entry has at least `least` of them; where there are too few for two entries, the
    /// section is one.
    fn period(&self, least: usize) -> Option<u64> {
        let first = self.all.first()?;
        if first.offset != OWNER_AT || !self.leads_to_code(first) {
            return None;
        }
        if self.all.len() < 2 * least {
            return Some(self.header.size);
        }
        let repeats = |count: usize, distance: u64| {
            let pairs = self.all.iter().zip(self.all.iter().skip(count));
            let mut pairs = pairs.map(|(one, next)| {
                one.offset.checked_add(distance) == Some(next.offset)
                    && one.kind == next.kind
                    && self.leads_to_code(one) == self.leads_to_code(next)
            });
            pairs.all(|is_same| is_same)
        };
        (least..=self.all.len() / 2)
            .filter(|count| self.all.len().is_multiple_of(*count))
            .find_map(|count| {
                let distance = self.all.get(count)?.offset.checked_sub(first.offset)?;
                (distance != 0 && repeats(count, distance)).then_some(distance)
            })
    }
}

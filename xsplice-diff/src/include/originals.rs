//! Describes items of the original object so that the linker can find and prove them in the base
//! without seeing the object.

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use crate::compare::special_entries::{Entry, SpecialEntries};
use crate::extract::{CONTENT_DEPTH_MAX, OriginalItem, OriginalRelocation, OriginalTarget};
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::{Relocation, Symbol, SymbolPlace};
use crate::read::relocation::Target;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::read::side::is_content;
use crate::read::special_sections::OWNER_AT;
use xsplice_abi::tables::SpecialTable;

/// The `STT_FILE` name that qualifies a local in the image. Assembler code often has no such
/// symbol; then GNU ld writes one with the object's file name without its folder.
#[must_use]
pub(crate) fn file_of(build: &Build<'_>, symbol: &Symbol<'_>) -> Option<String> {
    let object = build.object.name.rsplit('/').next().map(|name| {
        // `lib.a(member.o)`, or `lib.a(member.o:2)` for the second of that name.
        let member = name
            .split_once('(')
            .and_then(|(_, rest)| rest.strip_suffix(')'));
        member.map_or(name, |member| member.split(':').next().unwrap_or(member))
    });
    let object = object.filter(|_| !build.object.has_nameless_file);
    let file = symbol.file.or(object).filter(|_| symbol.is_local());
    file.map(str::to_owned)
}

/// Whether a name that the object defines may mean something else in the base: a weak one, which
/// another object may define too, or one of a function that is chosen at boot.
#[must_use]
pub(crate) fn is_by_name(symbol: &Symbol<'_>) -> bool {
    let is_defined = matches!(symbol.place, SymbolPlace::Section(_));
    is_defined && (symbol.is_weak() || symbol.is_chosen_at_boot())
}

/// What the base must contain of one original object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Originals<'data> {
    /// Every function.
    pub functions: Vec<OriginalItem<'data>>,
    /// Every read-only object with a name that the author gave: functions refer to it by name, so a
    /// change of its contents does not show in them.
    pub constants: Vec<OriginalItem<'data>>,
}

impl<'data> Originals<'data> {
    /// Describes a build.
    #[must_use]
    pub fn new(
        build: &Build<'data>,
        entries: &SpecialEntries,
        root: impl Fn(ItemId) -> ItemId,
    ) -> Originals<'data> {
        let mut describer = Describer::new(build, entries);
        let mut originals = Originals::default();
        for item in build.items.ids() {
            let class = build.items.class(item);
            let to = match build.items.item(item).kind {
                ItemKind::Function if class != SectionClass::SpecialCode => {
                    &mut originals.functions
                }
                ItemKind::Datum if class == SectionClass::Rodata && !is_content(build, item) => {
                    &mut originals.constants
                }
                _ => continue,
            };
            to.push(describer.describe(item, root(item)));
        }
        originals
    }
}

/// Every local variable of a build, with its initial contents.
pub(crate) fn local_variables<'data>(
    build: &Build<'data>,
    entries: &SpecialEntries,
) -> Vec<OriginalItem<'data>> {
    let mut describer = Describer::new(build, entries);
    let is_one = |item: &ItemId| {
        matches!(
            build.items.class(*item),
            SectionClass::Data | SectionClass::Bss
        ) && build.items.item(*item).kind == ItemKind::Datum
            && build.symbol(*item).is_some_and(|symbol| symbol.is_local())
    };
    build
        .items
        .ids()
        .filter(is_one)
        .map(|item| {
            let mut described = describer.describe(item, item);
            if described.bytes.is_empty() {
                let size = usize::try_from(build.items.item(item).size).unwrap_or(0);
                described.bytes = Cow::Owned(vec![0; size]);
            }
            described
        })
        .collect()
}

/// The range of `item` that an entry lets the boot patch.
fn patched_range(build: &Build<'_>, entry: &Entry, item: ItemId) -> Option<(u64, u64)> {
    let table = SpecialTable::of(build.object.section(entry.section).name)?;
    let length = table.rewritten_bytes(build.object.machine, entry.bytes(build))?;
    let field = entry.offset + OWNER_AT;
    let index = entry
        .relocation_range(build)
        .find(|index| build.object.relocations[*index].offset == field)?;
    let target = build.targets[index];
    (target.item() == Some(item)).then_some(())?;
    Some((u64::try_from(target.meant()).ok()?, length))
}

/// Describes items of one build. Content that many items refer to is described once.
#[derive(Debug)]
pub(crate) struct Describer<'b, 'data> {
    build: &'b Build<'data>,
    entries: &'b SpecialEntries,
    /// Relocations of content, by the content and the depth at which it was found.
    contents: HashMap<(ItemId, usize), Arc<[OriginalRelocation<'data>]>>,
}

impl<'b, 'data> Describer<'b, 'data> {
    /// Nothing is described yet.
    #[must_use]
    pub(crate) fn new(
        build: &'b Build<'data>,
        entries: &'b SpecialEntries,
    ) -> Describer<'b, 'data> {
        Describer {
            build,
            entries,
            contents: HashMap::new(),
        }
    }

    /// Describes one item; `root` is the function whose entries name places in it.
    pub(crate) fn describe(&mut self, item: ItemId, root: ItemId) -> OriginalItem<'data> {
        let build = self.build;
        let place = build.items.item(item);
        let symbol = build.place_symbol(item);
        let mut patched_at_boot: Vec<(u64, u64)> = self
            .entries
            .of(root)
            .iter()
            .filter_map(|entry| patched_range(build, entry, item))
            .collect();
        patched_at_boot.sort_unstable();
        patched_at_boot.dedup();
        OriginalItem {
            name: symbol.map_or("", |symbol| symbol.name).to_owned(),
            file: symbol.and_then(|symbol| file_of(build, symbol)),
            binding: symbol.map_or(0, |symbol| symbol.binding),
            section_name: build.section_name(item).to_owned(),
            section_offset: place.offset,
            named_size: place.named_size(),
            bytes: Cow::Borrowed(build.bytes(item)),
            relocations: self.relocations(item, 0),
            patched_at_boot,
        }
    }

    fn relocations(&mut self, item: ItemId, depth: usize) -> Vec<OriginalRelocation<'data>> {
        let build = self.build;
        let start = build.items.item(item).offset;
        let section = build.items.item(item).section;
        // Fields that the assembler resolved hold the same value in the base, because a linker does
        // not split a section.
        build
            .relocations(item)
            .filter(|(relocation, _)| !build.is_filled(section, relocation.offset))
            .map(|(relocation, target)| {
                let (target, addend) = self.target(relocation, target, depth);
                OriginalRelocation {
                    offset: relocation.offset - start,
                    kind: relocation.kind,
                    addend,
                    target,
                }
            })
            .collect()
    }

    fn content(&mut self, item: ItemId, depth: usize) -> Arc<[OriginalRelocation<'data>]> {
        if let Some(known) = self.contents.get(&(item, depth)) {
            return Arc::clone(known);
        }
        let relocations: Arc<[_]> = self.relocations(item, depth).into();
        self.contents
            .insert((item, depth), Arc::clone(&relocations));
        relocations
    }

    fn target(
        &mut self,
        relocation: &Relocation,
        target: Target,
        depth: usize,
    ) -> (OriginalTarget<'data>, i64) {
        let build = self.build;
        let named = build.object.symbol(relocation.symbol);
        if is_by_name(named) {
            let target = OriginalTarget::Symbol {
                name: named.name.to_owned(),
                file: file_of(build, named),
            };
            return (target, relocation.addend);
        }
        match target {
            Target::Item { item, offset, .. } => {
                if is_content(build, item) && depth < CONTENT_DEPTH_MAX {
                    let content = OriginalTarget::Content {
                        bytes: Cow::Borrowed(build.bytes(item)),
                        relocations: self.content(item, depth + 1),
                    };
                    return (content, offset);
                }
                let target = match build.place_symbol(item) {
                    Some(symbol) => OriginalTarget::Symbol {
                        name: symbol.name.to_owned(),
                        file: file_of(build, symbol),
                    },
                    None => place(build, item),
                };
                (target, offset)
            }
            Target::Symbol { symbol, addend } => {
                let symbol = build.object.symbol(symbol);
                let target = if symbol.place == SymbolPlace::Absolute {
                    OriginalTarget::Absolute(symbol.value)
                } else {
                    OriginalTarget::Symbol {
                        name: symbol.name.to_owned(),
                        file: None,
                    }
                };
                (target, addend)
            }
            Target::Section { section, .. } => {
                let target = OriginalTarget::SectionOffset {
                    section: build.object.section(section).name.to_owned(),
                    offset: 0,
                    near: None,
                };
                (target, relocation.addend)
            }
        }
    }
}

/// The place of an item without symbol and content: its section, and the nearest symbol before it.
fn place<'data>(build: &Build<'_>, item: ItemId) -> OriginalTarget<'data> {
    let place = build.items.item(item);
    let near = build
        .items
        .named_before(item)
        .and_then(|before| Some((build.items.item(before).offset, build.symbol(before)?)))
        .map(|(offset, symbol)| {
            (
                symbol.name.to_owned(),
                file_of(build, symbol),
                place.offset - offset,
            )
        });
    OriginalTarget::SectionOffset {
        section: build.section_name(item).to_owned(),
        offset: place.offset,
        near,
    }
}

//! Whether the base's copy of a function stands as the patched build asks for: on which alignment,
//! and how far behind a multiple of it.
//!
//! Where code stands can be the whole fix: a branch moved to the other half of a cache line, an
//! entry that must not cross a page. In a function's own section the section says what is asked
//! for. In a shared one the neighbours decide where a function stands, so there only what alignment
//! does not explain is taken for a demand.

use crate::compare::comparer::Comparer;
use crate::read::items::{ItemId, ItemKind};
use crate::read::padding::is_padding;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::verdict::kinds::Reason;

/// The alignment that compilers give functions unless they think that one hardly ever runs.
const USUAL_BYTES: u64 = 16;

/// A distance behind a multiple of an alignment, both in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placement {
    alignment: u64,
    phase: u64,
}

impl Placement {
    /// Whether what stands like this also stands as `asked`.
    fn satisfies(self, asked: Placement) -> bool {
        self.alignment.is_multiple_of(asked.alignment)
            && self.phase % asked.alignment == asked.phase
    }

    fn shown(self) -> String {
        match self.phase {
            0 => format!("aligned to {} bytes", self.alignment),
            phase => format!(
                "{phase} bytes behind a multiple of {} bytes",
                self.alignment
            ),
        }
    }
}

/// What differs in the placement of a function or label, if the base's does not do.
///
/// Shortcut S14: a compiler aligns by how often it thinks that a function runs, and such a move
/// says nothing else.
pub(crate) fn difference(comparer: &Comparer<'_, '_>, o: ItemId, p: ItemId) -> Option<Reason> {
    let (original, patched) = (comparer.original, comparer.patched);
    let asked = asked(patched, p);
    let given = given(original, o);
    if given.satisfies(asked) {
        return None;
    }
    // A compiler that finds a function hot or cold puts it elsewhere and aligns it by that.
    let has_moved =
        original.section_name(o) != patched.section_name(p) && patched.name(p) == original.name(o);
    if has_moved && asked.phase == 0 && asked.alignment <= USUAL_BYTES {
        return None;
    }
    Some(Reason::PlacementDiffers {
        old: given.shown(),
        new: asked.shown(),
    })
}

/// Functions that may be what a shared section became more strictly aligned for: the alignment
/// grew, nothing else in the section explains it, and these lie on multiples of it.
pub(crate) fn aligned_more(
    comparer: &Comparer<'_, '_>,
    is_explained: impl Fn(ItemId) -> bool,
) -> Vec<(ItemId, Reason)> {
    let (original, patched) = (comparer.original, comparer.patched);
    let mut found = Vec::new();
    for (id, section) in patched.object.sections() {
        if !is_code(patched.items.class_of(id)) || section.alignment <= USUAL_BYTES {
            continue;
        }
        let old_alignment = |item| {
            let counterpart = comparer.correlation.original(item)?;
            let old = original.items.item(counterpart).section;
            Some(original.object.section(old).alignment)
        };
        let own: Vec<ItemId> = patched
            .items
            .of_section(id)
            .filter(|item| is_named_code(patched, *item))
            .collect();
        let grew = own
            .iter()
            .filter_map(|item| old_alignment(*item))
            .all(|old| old < section.alignment);
        let says = |item: &ItemId| {
            is_explained(*item) || asked(patched, *item).alignment >= section.alignment
        };
        if !grew || own.iter().any(says) {
            continue;
        }
        let on_it = own.iter().filter(|item| {
            let offset = patched.items.item(**item).offset;
            offset.is_multiple_of(section.alignment)
        });
        found.extend(on_it.filter_map(|item| {
            let old = Placement {
                alignment: old_alignment(*item)?,
                phase: 0,
            };
            let new = Placement {
                alignment: section.alignment,
                phase: 0,
            };
            let (old, new) = (old.shown(), new.shown());
            Some((*item, Reason::PlacementDiffers { old, new }))
        }));
    }
    found
}

fn is_code(class: SectionClass) -> bool {
    matches!(class, SectionClass::Code | SectionClass::Init)
}

fn is_named_code(build: &Build<'_>, item: ItemId) -> bool {
    matches!(
        build.items.item(item).kind,
        ItemKind::Function | ItemKind::Label
    )
}

/// Whether no other item of the section but padding stands before or behind this one.
fn is_alone(build: &Build<'_>, item: ItemId) -> bool {
    let mut others = build
        .items
        .of_section(build.items.item(item).section)
        .filter(|other| *other != item);
    others.all(|other| {
        build.is_lead(other)
            || (build.items.item(other).kind == ItemKind::Gap && is_padding(build, other))
    })
}

/// What the base's copy is certain to have.
fn given(build: &Build<'_>, item: ItemId) -> Placement {
    let place = build.items.item(item);
    let alignment = build.object.section(place.section).alignment.max(1);
    Placement {
        alignment,
        phase: place.offset % alignment,
    }
}

/// What a build asks for.
fn asked(build: &Build<'_>, item: ItemId) -> Placement {
    let own = given(build, item);
    if is_alone(build, item) {
        return own;
    }
    let start = build.items.item(item).offset;
    let end = end_before(build, item);
    let explained = std::iter::successors(Some(1_u64), |alignment| alignment.checked_mul(2))
        .take_while(|alignment| *alignment <= own.alignment)
        .find(|alignment| end.checked_next_multiple_of(*alignment) == Some(start));
    match explained {
        Some(alignment) => Placement {
            alignment,
            phase: 0,
        },
        None => own,
    }
}

/// Where the item before ends, padding left out.
fn end_before(build: &Build<'_>, item: ItemId) -> u64 {
    let section = build.items.item(item).section;
    (0..item.0)
        .rev()
        .map(ItemId)
        .take_while(|other| build.items.item(*other).section == section)
        .find(|other| build.items.item(*other).kind != ItemKind::Gap || !is_padding(build, *other))
        .map_or(0, |other| build.items.item(other).end())
}

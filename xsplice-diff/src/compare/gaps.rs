//! How far constants without a symbol are read.
//!
//! The object does not say where one of them ends, so that it is taken with what fills up to the
//! next. Where that filler is longer in one build, nothing differs for an instruction that reads so
//! many bytes and no more. But whoever takes the address may read on, into another such constant.

use foldhash::HashSet;

use crate::machine::Use;
use crate::machine::cursor::Cursor;
use crate::read::items::{ItemId, ItemKind};
use crate::read::side::Build;

/// The constants without a symbol that something may read further than it can be told.
///
/// Shortcut S38: what begins with text ends where the text does, and a row of addresses with the
/// last of them: code and tables that name one by its address read no further.
pub(crate) fn read_on(build: &Build<'_>) -> HashSet<ItemId> {
    let mut cursor = Cursor::default();
    let mut found = HashSet::default();
    build.each_reference(|source, index, target| {
        let Some(item) = target.item() else {
            return;
        };
        let is_constant =
            build.items.item(item).kind == ItemKind::Gap && build.items.class(item).is_constant();
        if !is_constant || found.contains(&item) || is_text(build.bytes(item)) {
            return;
        }
        let place = build.items.item(source);
        let field = build.object.relocations[index].offset;
        let is_code = build.object.section(place.section).is_executable();
        let code = match is_code {
            true => build.bytes(source),
            false => &[],
        };
        let holding = cursor.holding(build.object.machine, code, place.offset, field);
        let is_slot = build
            .object
            .machine
            .goes_through_slot(build.object.relocations[index].kind);
        let is_told = !is_slot
            && holding.is_some_and(|one| {
                one.use_of(field) == Some(Use::Access) && one.extent(field).is_some()
            });
        if !is_told && !is_row(build, item) {
            found.insert(item);
        }
    });
    found
}

/// Whether another constant without a symbol stands right behind one: both may be parts of one that
/// several functions read from. What has a symbol is a constant of its own.
pub(crate) fn is_followed(build: &Build<'_>, item: ItemId) -> bool {
    let place = build.items.item(item);
    let next = build.items.at(place.section, place.end());
    next.is_some_and(|next| {
        let next = build.items.item(next);
        next.offset == place.end() && next.kind == ItemKind::Gap
    })
}

/// Whether an item is nothing but text, its end, and what fills up behind it.
fn is_text(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == 0);
    let (text, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    let is_plain = |character: char| !character.is_control() || character.is_ascii_whitespace();
    !text.is_empty()
        && !rest.is_empty()
        && rest.iter().all(|byte| *byte == 0)
        && str::from_utf8(text).is_ok_and(|text| text.chars().all(is_plain))
}

/// Whether an item consists of fields that relocations fill, one behind the other.
fn is_row(build: &Build<'_>, item: ItemId) -> bool {
    let fields = &build.object.relocations[build.relocation_range(item)];
    let mut end = build.items.item(item).offset;
    let follows = fields.iter().all(|field| {
        let is_next = field.offset == end;
        end = field.offset + build.object.machine.field_bytes(field.kind);
        is_next
    });
    follows && !fields.is_empty()
}

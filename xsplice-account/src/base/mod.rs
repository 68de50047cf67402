//! An image: which of its bytes come from the build that it was linked from, and which are of
//! unknown origin.

mod place;
mod rooms;
mod search;
mod standing;

pub(crate) use place::{addresses, foreign, placed, winners};
pub(crate) use standing::Standing;

use std::ops::Range;

use object::elf;
use xsplice_diff::machine;
use xsplice_diff::read::object::SymbolPlace;

use crate::follow::{Follower, Pair, Place};
use crate::read::image::{Image, ImageSection, ImageSymbol};
use crate::read::names::is_of;
use crate::read::tree::Tree;

/// What became of an image's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ImageAccount {
    /// Bytes of loaded sections.
    pub bytes: u64,
    /// Bytes that are in objects of its build.
    pub from_objects: u64,
    /// Bytes that the linker made.
    pub from_linker: u64,
    /// Bytes between items.
    pub padding: u64,
    /// Functions and data that no object holds.
    pub unknown: Vec<UnknownSymbol>,
    /// Further bytes that no object holds and no symbol names.
    pub unnamed: u64,
}

/// A function or datum of an image that no object holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UnknownSymbol {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: u64,
    /// In bytes.
    pub size: u64,
    /// Why what the objects have of that name is not it.
    pub why: String,
}

/// What is between the found.
fn gaps(image: &Image<'_>, covered: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    for section in &image.sections {
        let mut position = section.range.start;
        let from = covered.partition_point(|range| range.end <= section.range.start);
        for range in covered[from..]
            .iter()
            .take_while(|range| range.start < section.range.end)
        {
            if position < range.start {
                gaps.push(position..range.start);
            }
            position = position.max(range.end);
        }
        if position < section.range.end {
            gaps.push(position..section.range.end);
        }
    }
    gaps
}

/// Tells what of the base has a place, after [`place`].
#[must_use]
pub(crate) fn account(standing: &Standing<'_, '_>) -> ImageAccount {
    let follower = &standing.follower;
    let image = follower.image;
    let covered = standing.covered();
    let mut account = ImageAccount::default();
    for section in &image.sections {
        account.bytes += section.range.end - section.range.start;
    }
    let mut open = Vec::new();
    for gap in gaps(image, covered) {
        let Some(section) = image.section_at(gap.start) else {
            continue;
        };
        let length = gap.end - gap.start;
        if is_linker_made(section) {
            account.from_linker += length;
        } else if is_padding(image, &gap) {
            account.padding += length;
        } else {
            open.push(gap.clone());
            account.unnamed += length;
        }
    }
    let not_found = account.from_linker + account.padding + account.unnamed;
    account.from_objects = account.bytes - not_found;
    let common = common_names(follower.tree);
    for symbol in &image.symbols {
        let is_item = [elf::STT_FUNC.0, elf::STT_OBJECT.0].contains(&symbol.kind);
        if !is_item || symbol.size == 0 || !symbol.is_placed || common.contains(symbol.name) {
            continue;
        }
        let range = symbol.address..symbol.address.saturating_add(symbol.size);
        let at = covered.partition_point(|found| found.end <= range.start);
        let is_found = covered
            .get(at)
            .is_some_and(|found| found.start <= range.start && range.end <= found.end);
        let is_ours = image.section_at(range.start).is_some_and(is_linker_made);
        if !is_found && !is_ours {
            account.unknown.push(UnknownSymbol {
                name: symbol.name.to_owned(),
                address: symbol.address,
                size: symbol.size,
                why: why(follower, symbol),
            });
        }
    }
    account
}

/// Why no item of the symbol's name is there.
fn why(follower: &Follower<'_, '_>, symbol: &ImageSymbol<'_>) -> String {
    let tree = follower.tree;
    let named = tree
        .items()
        .filter(|&item| tree.names(item).any(|own| own.name == symbol.name));
    let reasons = named.filter_map(|item| {
        let place = Place::Base(symbol.address);
        let (at, failure) = follower.why(Pair { item, place })?;
        let object = &tree.objects[at.item.object].elf.name;
        Some(format!(
            "{} of {object} differs at +{:#x}: {}",
            tree.shown(at.item),
            failure.offset,
            failure.sentence()
        ))
    });
    let found = reasons.max_by_key(String::len);
    found.unwrap_or_else(|| "no object has that name".to_owned())
}

/// Names for which the linker reserves space.
fn common_names<'data>(tree: &Tree<'data>) -> foldhash::HashSet<&'data str> {
    let symbols = tree.objects.iter().flat_map(|object| &object.elf.symbols);
    let common = symbols.filter(|symbol| symbol.place == SymbolPlace::Common);
    common.map(|symbol| symbol.name).collect()
}

/// Sections that a linker makes or rewrites as a whole.
///
/// Shortcut S25: a linker writes these from what it knows of the whole image, and no object
/// determines their bytes.
fn is_linker_made(section: &ImageSection<'_>) -> bool {
    const MADE: [&str; 18] = [
        ".note",
        ".got",
        ".plt",
        ".eh_frame",
        ".eh_frame_hdr",
        ".sframe",
        ".dynamic",
        ".dynsym",
        ".dynstr",
        ".hash",
        ".gnu.hash",
        ".rela",
        ".interp",
        ".comment",
        ".gnu.version",
        ".gnu.version_d",
        ".gnu.version_r",
        ".relr",
    ];
    MADE.iter().any(|family| is_of(family, section.name))
}

/// Bytes that stand between items: zeros, traps, or instructions without an effect.
///
/// Shortcut S26: no symbol and no item is there, and the bytes are zeros, traps or NOPs.
fn is_padding(image: &Image<'_>, gap: &Range<u64>) -> bool {
    let bytes = match image.bytes(gap.start, gap.end - gap.start) {
        Some(crate::read::image::Bytes::Present(bytes)) => bytes,
        Some(crate::read::image::Bytes::Zero) => return true,
        None => return false,
    };
    let machine = image.machine;
    if bytes.iter().all(|&byte| byte == 0) || bytes.iter().all(|&byte| byte == machine.trap) {
        return true;
    }
    let is_code = image
        .section_at(gap.start)
        .is_some_and(|section| section.flags & elf::SHF_EXECINSTR.0 != 0);
    is_code && machine::is_padding(machine, bytes)
}

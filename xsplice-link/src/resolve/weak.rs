//! Which of several new definitions of one name is the one, as a linker decides it: a definition
//! that is not weak before weak ones. Of weak ones it takes the first that it comes to, which
//! nothing here tells; so they must be the same.

use object::elf;
use xsplice_diff::extract::{Extract, Place, Section, Symbol, SymbolIndex};

/// A definition: the extract, and its symbol.
pub(super) type Definition = (usize, SymbolIndex);

/// The one of two definitions of a name that counts.
///
/// # Errors
/// What is wrong with having both.
pub(super) fn choose(
    extracts: &[&Extract<'_>],
    first: Definition,
    other: Definition,
) -> Result<Definition, String> {
    let symbol = |of: Definition| &extracts[of.0].symbols[of.1.0];
    let is_weak = |of| symbol(of).binding == elf::STB_WEAK.0;
    let object = &extracts[first.0].object;
    match (is_weak(first), is_weak(other)) {
        _ if first == other => Ok(first),
        (true, false) => Ok(other),
        (false, true) => Ok(first),
        (false, false) if first.0 == other.0 => Ok(first),
        (false, false) => Err(format!(
            "is defined in {object} too; a payload can hold it once"
        )),
        (true, true) if is_same(extracts, first, other) => Ok(first),
        (true, true) => Err(format!(
            "is defined otherwise in {object} and is weak in both, so that the order of the link \
             decides; leave one definition, or make one of them not weak"
        )),
    }
}

fn is_same(extracts: &[&Extract<'_>], one: Definition, other: Definition) -> bool {
    let (a, b) = (extracts[one.0], extracts[other.0]);
    let section = |extract: &Extract<'_>, symbol: SymbolIndex| match extract.symbols[symbol.0].place
    {
        Place::Section { section, value } => Some((section, value)),
        Place::Base | Place::Undefined | Place::Absolute(_) => None,
    };
    let (Some((first, at)), Some((second, other_at))) = (section(a, one.1), section(b, other.1))
    else {
        return false;
    };
    let (first, second) = (a.sections.get(first.0), b.sections.get(second.0));
    let Some((first, second)) = first.zip(second) else {
        return false;
    };
    let same_bytes = first.size == second.size && first.data == second.data && at == other_at;
    same_bytes && leads_alike((a, first), (b, second))
}

/// Whether the fields of two sections lead to things of one name. What has no name differs.
fn leads_alike(
    (a, first): (&Extract<'_>, &Section<'_>),
    (b, second): (&Extract<'_>, &Section<'_>),
) -> bool {
    let pairs = first.relocations.iter().zip(&second.relocations);
    let named = |symbol: &Symbol| !symbol.name.is_empty() && symbol.binding != elf::STB_LOCAL.0;
    first.relocations.len() == second.relocations.len()
        && pairs.into_iter().all(|(one, other)| {
            let (Some(old), Some(new)) =
                (a.symbols.get(one.symbol.0), b.symbols.get(other.symbol.0))
            else {
                return false;
            };
            (one.offset, one.kind, one.addend) == (other.offset, other.kind, other.addend)
                && old.name == new.name
                && named(old)
                && named(new)
        })
}

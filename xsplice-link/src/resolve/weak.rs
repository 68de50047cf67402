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

#[cfg(test)]
mod tests {
    use object::elf;
    use xsplice_abi::profile::XSPLICE;
    use xsplice_diff::extract::{
        Extract, Place, Relocation, Section, SectionIndex, Symbol, SymbolIndex,
    };

    use super::choose;

    fn symbol(name: &str, binding: u8, place: Place) -> Symbol {
        Symbol {
            name: name.to_owned(),
            file: None,
            binding,
            kind: elf::STT_FUNC.0,
            size: 8,
            place,
            otherwise: None,
        }
    }

    /// An object whose first symbol is `chosen`, eight bytes that lead to `callee` by one field.
    fn object(name: &str, binding: u8, callee: Symbol) -> Extract<'static> {
        let section = Section {
            name: ".text.chosen".to_owned(),
            kind: elf::SHT_PROGBITS.0,
            flags: 6,
            alignment: 1,
            entry_size: 0,
            size: 8,
            data: vec![0xe8, 0, 0, 0, 0, 0x90, 0x90, 0xc3].into(),
            relocations: vec![Relocation {
                offset: 1,
                kind: elf::R_X86_64_PLT32.0,
                symbol: SymbolIndex(1),
                addend: -4,
            }],
        };
        let at = Place::Section {
            section: SectionIndex(0),
            value: 0,
        };
        Extract {
            object: name.to_owned(),
            machine: xsplice_abi::machine::OF_RUNTIME,
            abi: &XSPLICE,
            sections: vec![section],
            symbols: vec![symbol("chosen", binding, at), callee],
            records: Vec::new(),
            constants: Vec::new(),
            accepted: Vec::new(),
            compiled_by: Default::default(),
        }
    }

    fn callee() -> Symbol {
        symbol("callee", elf::STB_GLOBAL.0, Place::Undefined)
    }

    fn weak() -> Extract<'static> {
        object("a.o", elf::STB_WEAK.0, callee())
    }

    /// Which of two objects' definitions counts.
    fn chosen(first: &Extract<'_>, other: &Extract<'_>) -> Option<usize> {
        let extracts = [first, other];
        let found = choose(&extracts, (0, SymbolIndex(0)), (1, SymbolIndex(0)));
        found.ok().map(|(extract, _)| extract)
    }

    #[test]
    fn what_is_not_weak_comes_before_what_is_and_is_there_once() {
        let strong = object("b.o", elf::STB_GLOBAL.0, callee());
        assert_eq!(chosen(&weak(), &strong), Some(1));
        assert_eq!(chosen(&strong, &weak()), Some(0));
        assert_eq!(chosen(&strong, &strong), None);
        let twice = choose(&[&strong], (0, SymbolIndex(0)), (0, SymbolIndex(0)));
        assert_eq!(twice, Ok((0, SymbolIndex(0))));
        // Two names of one place in one object are no second definition.
        let alias = choose(&[&strong], (0, SymbolIndex(0)), (0, SymbolIndex(1)));
        assert_eq!(alias, Ok((0, SymbolIndex(0))));
    }

    #[test]
    fn of_two_weak_definitions_that_are_the_same_the_first_counts() {
        assert_eq!(chosen(&weak(), &weak()), Some(0));
    }

    #[test]
    fn weak_definitions_that_differ_in_anything_are_not_chosen_from() {
        type Change = fn(&mut Extract<'static>);
        let changes: [(&str, Change); 10] = [
            ("bytes", |one| one.sections[0].data.to_mut()[7] = 0xcc),
            ("size", |one| one.sections[0].size = 9),
            ("place", |one| {
                let section = SectionIndex(0);
                one.symbols[0].place = Place::Section { section, value: 4 };
            }),
            ("no place", |one| one.symbols[0].place = Place::Base),
            ("no section", |one| one.sections.clear()),
            ("field", |one| one.sections[0].relocations[0].offset = 2),
            ("addend", |one| one.sections[0].relocations[0].addend = 0),
            ("kind of field", |one| {
                one.sections[0].relocations[0].kind = elf::R_X86_64_PC32.0;
            }),
            ("fields", |one| one.sections[0].relocations.clear()),
            ("callee", |one| one.symbols[1].name.push('2')),
        ];
        for (what, change) in changes {
            let mut other = weak();
            change(&mut other);
            assert_eq!(chosen(&weak(), &other), None, "{what}");
            assert_eq!(chosen(&other, &weak()), None, "{what}");
        }
    }

    /// A name that other objects cannot refer to is something else in each object.
    #[test]
    fn weak_definitions_that_lead_to_what_has_no_shared_name_differ() {
        let nameless = symbol("", elf::STB_GLOBAL.0, Place::Undefined);
        let local = symbol("callee", elf::STB_LOCAL.0, Place::Undefined);
        for own in [nameless, local] {
            let own = object("b.o", elf::STB_WEAK.0, own);
            assert_eq!(chosen(&own, &own), None);
            assert_eq!(chosen(&weak(), &own), None);
            assert_eq!(chosen(&own, &weak()), None);
        }
    }
}

//! Breaks of symbols and relocations.

use goblin::elf::reloc::{R_X86_64_PC32, R_X86_64_PLT32};
use xsplice_abi::errno::Errno;
use xsplice_abi::limits::SYMBOL_NAME_BYTES_MAX;
use xsplice_link::verify::CheckKind::{
    LoaderRules, NameClashes, Readable, TrialLoad, UndefinedSymbols,
};

use super::{Break, broken};
use crate::edit::{Edit, Place, header, rela, symbol};

const INVAL: Errno = Errno::EINVAL;
const OPNOTSUPP: Errno = Errno::EOPNOTSUPP;

const SHT_REL: u8 = 9;
/// `R_X86_64_GOTPCREL`, which no loader takes.
const GOTPCREL: u8 = 9;
const SHN_COMMON: [u8; 2] = 0xfff2_u16.to_le_bytes();
const SHN_OF_A_PROCESSOR: [u8; 2] = 0xff02_u16.to_le_bytes();
const NO_SECTION: [u8; 2] = 1000_u16.to_le_bytes();

/// A symbol that the payload defines and that is no replacement of a function.
fn new_symbol(e: &Edit) -> Option<usize> {
    let funcs = e.section(&e.own(xsplice_abi::section::FUNCS));
    let is_replacement = |section: usize, value: u64| {
        let Some(table) = funcs.and_then(|funcs| e.relocations_of(funcs)) else {
            return false;
        };
        let entries = e.content(table).unwrap_or_default().chunks_exact(24);
        entries.into_iter().any(|entry| {
            let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("8"));
            let index = usize::try_from(word(rela::OFFSET + 8) >> 32).expect("an index");
            let target = e.symbols().find(|(known, _)| *known == index);
            target.is_some_and(|(_, one)| {
                one.section == section && one.value.wrapping_add(word(rela::ADDEND)) == value
            })
        })
    };
    let (index, _) = e.symbols().find(|(_, one)| {
        !one.name.is_empty()
            && one.section != 0
            && one.section < 0xff00
            && !is_replacement(one.section, one.value)
    })?;
    Some(index)
}

pub(super) const SYMBOLS: &[Break] = &[
    broken(
        "a symbol that nobody has",
        |e| e.put_symbol_name(e.undefined()?, "nobody.c#has_this"),
        UndefinedSymbols,
        Errno::ENOENT,
    ),
    broken(
        "an undefined symbol without a name",
        |e| e.put_symbol_name(e.undefined()?, ""),
        UndefinedSymbols,
        Errno::ENOENT,
    ),
    broken(
        "a COMMON symbol",
        |e| e.put_symbol(e.defined()?, symbol::SECTION, &SHN_COMMON),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a symbol in a section that does not exist",
        |e| e.put_symbol(e.defined()?, symbol::SECTION, &NO_SECTION),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a symbol of a processor's own kind",
        |e| e.put_symbol(e.defined()?, symbol::SECTION, &SHN_OF_A_PROCESSOR),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a symbol beyond its section",
        |e| e.put_symbol(e.defined()?, symbol::VALUE, &[0xff; 4]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a symbol's name outside the table",
        |e| e.put_symbol(e.defined()?, symbol::NAME, &[0xff; 4]),
        Readable,
        INVAL,
    ),
    broken(
        "a name that is too long",
        |e| e.put_symbol_name(e.defined()?, &"x".repeat(SYMBOL_NAME_BYTES_MAX + 1)),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a new symbol of a name that the base has",
        |e| e.put_symbol_name_of(new_symbol(e)?, e.undefined()?),
        NameClashes,
        Errno::EEXIST,
    ),
    broken(
        "a symbol table without names",
        |e| e.put_header(e.section(".symtab")?, header::LINK, &[0]),
        Readable,
        INVAL,
    ),
];

/// The first relocation of the file.
fn first(e: &Edit) -> Option<Place> {
    let table = e.any_relocations()?;
    Some(Place { table, index: 0 })
}

pub(super) const RELOCATIONS: &[Break] = &[
    broken(
        "a type that the loader does not take",
        |e| e.put_relocation(first(e)?, rela::KIND, &[GOTPCREL]),
        LoaderRules,
        OPNOTSUPP,
    ),
    broken(
        "a type that nobody knows",
        |e| e.put_relocation(first(e)?, rela::KIND, &[0xff]),
        LoaderRules,
        OPNOTSUPP,
    ),
    broken(
        "without a symbol",
        |e| e.put_relocation(first(e)?, rela::SYMBOL, &[0; 4]),
        LoaderRules,
        OPNOTSUPP,
    ),
    broken(
        "a symbol that does not exist",
        |e| e.put_relocation(first(e)?, rela::SYMBOL, &[0xff; 4]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a field outside the section",
        |e| e.put_relocation(first(e)?, rela::OFFSET, &[0xff; 4]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a call that does not reach",
        |e| {
            let call = e
                .relocation_of_kind(R_X86_64_PLT32)
                .or_else(|| e.relocation_of_kind(R_X86_64_PC32))?;
            e.put_relocation(call, rela::ADDEND, &[0, 0, 0, 0, 1, 0, 0, 0])
        },
        TrialLoad,
        Errno::EOVERFLOW,
    ),
    broken(
        "relocations without addends",
        |e| e.put_header(e.any_relocations()?, header::KIND, &[SHT_REL]),
        LoaderRules,
        OPNOTSUPP,
    ),
    broken(
        "relocations of no section",
        |e| e.put_header(e.any_relocations()?, header::INFO, &[0]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "relocations of a section that does not exist",
        |e| e.put_header(e.any_relocations()?, header::INFO, &NO_SECTION),
        LoaderRules,
        INVAL,
    ),
    broken(
        "relocations against another table",
        |e| e.put_header(e.any_relocations()?, header::LINK, &[1]),
        LoaderRules,
        INVAL,
    ),
];

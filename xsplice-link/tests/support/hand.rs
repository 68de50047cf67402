//! Extracts made by hand, for what no compiler emits on request.

use xsplice_abi::Profile;
use xsplice_diff::extract::{
    Extract, OriginalItem, Place, Record, Relocation, Section, SectionIndex, Symbol, SymbolIndex,
};
use xsplice_link::Base;
use xsplice_link::base::QualifiedName;

pub(crate) const STB_LOCAL: u8 = 0;
pub(crate) const STB_GLOBAL: u8 = 1;
pub(crate) const STT_NOTYPE: u8 = 0;
pub(crate) const STT_OBJECT: u8 = 1;
pub(crate) const STT_FUNC: u8 = 2;
pub(crate) const A: u64 = 2;
pub(crate) const WA: u64 = 3;
pub(crate) const AX: u64 = 6;
pub(crate) const PROGBITS: u32 = 1;
pub(crate) const NOBITS: u32 = 8;

/// `mov $1,%eax; ret`
pub(crate) const RETURN_ONE: &[u8] = &[0xb8, 1, 0, 0, 0, 0xc3];

/// An extract with nothing in it.
pub(crate) fn empty(object: &str, abi: &'static Profile) -> Extract<'static> {
    Extract {
        constants: Vec::new(),
        object: object.to_owned(),
        machine: xsplice_abi::machine::OF_RUNTIME,
        abi,
        sections: Vec::new(),
        symbols: Vec::new(),
        records: Vec::new(),
        accepted: Vec::new(),
        compiled_by: Default::default(),
    }
}

/// An extract that replaces the base's function `name` by `code`.
pub(crate) fn replacing<'data>(
    base: &Base<'data>,
    name: &str,
    code: &[u8],
    abi: &'static Profile,
) -> Extract<'data> {
    let mut extract = empty("a.o", abi);
    replace(&mut extract, base, name, code);
    extract
}

/// Adds a replacement; the original is whatever the base has, so its proof is trivial.
pub(crate) fn replace<'data>(
    extract: &mut Extract<'data>,
    base: &Base<'data>,
    name: &str,
    code: &[u8],
) {
    let qualified = QualifiedName::parse(name);
    let old = base.lookup(qualified).found().unwrap();
    let file = qualified.file.map(str::to_owned);
    let binding = if file.is_some() {
        STB_LOCAL
    } else {
        STB_GLOBAL
    };
    let section = section(extract, &format!(".text.{}", old.name), AX, code);
    let symbol = symbol(
        extract,
        Symbol {
            name: old.name.to_owned(),
            file: file.clone(),
            binding,
            kind: STT_FUNC,
            size: code.len() as u64,
            place: Place::Section { section, value: 0 },
            otherwise: None,
        },
    );
    let bytes = base.bytes_at(old.address, old.size_bytes).unwrap();
    extract.records.push(Record {
        aliases: Vec::new(),
        name: old.name.to_owned(),
        file: file.clone(),
        binding,
        symbol,
        old_size: old.size_bytes,
        new_size: code.len() as u64,
        address_taken: false,
        original: OriginalItem {
            name: old.name.to_owned(),
            file,
            binding,
            section_name: format!(".text.{}", old.name),
            section_offset: 0,
            named_size: old.size_bytes,
            bytes: bytes.into(),
            relocations: Vec::new(),
            patched_at_boot: Vec::new(),
        },
    });
}

/// Adds a section of these bytes.
pub(crate) fn section(
    extract: &mut Extract<'_>,
    name: &str,
    flags: u64,
    data: &[u8],
) -> SectionIndex {
    extract.sections.push(Section {
        name: name.to_owned(),
        kind: PROGBITS,
        flags,
        alignment: 1,
        entry_size: 0,
        size: data.len() as u64,
        data: data.to_vec().into(),
        relocations: Vec::new(),
    });
    SectionIndex(extract.sections.len() - 1)
}

/// Adds a symbol.
pub(crate) fn symbol(extract: &mut Extract<'_>, symbol: Symbol) -> SymbolIndex {
    extract.symbols.push(symbol);
    SymbolIndex(extract.symbols.len() - 1)
}

/// Adds a symbol that another object defines.
pub(crate) fn undefined(extract: &mut Extract<'_>, name: &str) -> SymbolIndex {
    symbol(
        extract,
        Symbol {
            name: name.to_owned(),
            file: None,
            binding: STB_GLOBAL,
            kind: STT_NOTYPE,
            size: 0,
            place: Place::Undefined,
            otherwise: None,
        },
    )
}

/// Adds a symbol of the running image.
pub(crate) fn in_base(extract: &mut Extract<'_>, file: Option<&str>, name: &str) -> SymbolIndex {
    symbol(
        extract,
        Symbol {
            name: name.to_owned(),
            file: file.map(str::to_owned),
            binding: if file.is_some() {
                STB_LOCAL
            } else {
                STB_GLOBAL
            },
            kind: STT_FUNC,
            size: 0,
            place: Place::Base,
            otherwise: None,
        },
    )
}

/// Adds a symbol of a section that is included.
pub(crate) fn defined(
    extract: &mut Extract<'_>,
    name: &str,
    binding: u8,
    kind: u8,
    section: SectionIndex,
) -> SymbolIndex {
    let size = extract.sections[section.0].size;
    symbol(
        extract,
        Symbol {
            name: name.to_owned(),
            file: (binding == STB_LOCAL).then(|| "a.c".to_owned()),
            binding,
            kind,
            size,
            place: Place::Section { section, value: 0 },
            otherwise: None,
        },
    )
}

/// Adds a relocation.
pub(crate) fn relocate(
    extract: &mut Extract<'_>,
    section: SectionIndex,
    offset: u64,
    kind: u32,
    symbol: SymbolIndex,
    addend: i64,
) {
    extract.sections[section.0].relocations.push(Relocation {
        offset,
        kind,
        symbol,
        addend,
    });
}

//! The file itself, one field changed at a time: header, sections, symbols and relocations that
//! no payload has, and odd ones that are none of the loader's business.

use crate::support::edit::{Edited, header, relocation, section, symbol};
use crate::support::uploads::{changed, file_taken, refused, refused_before_memory, taken};
use crate::support::{A, AW, Caller as _, Extra, Maker, R64, runtime};
use object::SectionKind;
use xsplice_abi::Errno;
use xsplice_abi::limits::{PAGE_BYTES, PAYLOAD_BYTES_MAX, SECTIONS_MAX, SYMBOL_NAME_BYTES_MAX};

/// Types of sections: unused, and relocations without addends.
const UNUSED: u64 = 0;
const REL: u64 = 9;
/// A section's flags for data that is written and code, without being loaded.
const WX: u64 = 5;
/// Places of symbols: an address, COMMON, and a reserved number.
const SHN_ABS: u64 = 0xfff1;
const SHN_COMMON: u64 = 0xfff2;
const SHN_RESERVED: u64 = 0xff05;
/// Number of a section that no file here has.
const NO_SECTION: u64 = 500;
/// In place of the number of the section with names: it stands in the first section header.
const ELSEWHERE: u64 = 0xffff;
/// Relocations of the records.
const RELOCATIONS: &str = ".rela.xsplice.funcs";

fn edited(change: impl FnOnce(&mut Edited)) -> Vec<u8> {
    edited_from(&Maker::new(1), change)
}

fn edited_from(maker: &Maker, change: impl FnOnce(&mut Edited)) -> Vec<u8> {
    let mut file = Edited::of(maker);
    change(&mut file);
    file.0
}

#[test]
fn only_64_bit_little_endian_elf_is_read() {
    // Magic number, class, byte order.
    for at in 0..6 {
        let file = edited(|file| file.0[at] ^= 0x10);
        refused(&file, Errno::ENOEXEC, "not a 64-bit little-endian ELF");
    }
}

#[test]
fn a_payload_has_fewer_sections_than_the_limit_and_not_none() {
    let with = |count: usize| {
        let usual = Edited::of(&Maker::new(1)).sections();
        let file = Edited::of(&changed(|maker| {
            let more = (usual..count).map(|number| Extra::new(&format!("x{number}"), 0, &[]));
            maker.sections.extend(more);
        }));
        assert_eq!(file.sections(), count);
        file.0
    };
    file_taken(&with(SECTIONS_MAX - 1));
    let says = format!("{SECTIONS_MAX} section headers");
    refused_before_memory(&with(SECTIONS_MAX), Errno::EINVAL, &says);
    // A number that does not fit the header's field stands in the first section header.
    let elsewhere = edited(|file| {
        let count = file.sections() as u64;
        file.in_header(&header::SECTIONS, 0);
        file.in_section_number(0, &section::SIZE, count);
    });
    refused_before_memory(&elsewhere, Errno::EINVAL, "0 section headers");
}

#[test]
fn the_section_with_names_may_be_told_by_the_first_section_header() {
    file_taken(&edited(|file| {
        let names = file.names() as u64;
        file.in_header(&header::NAMES, ELSEWHERE);
        file.in_section_number(0, &section::LINK, names);
    }));
    let none = edited(|file| {
        file.in_header(&header::NAMES, ELSEWHERE);
    });
    refused(&none, Errno::EINVAL, "no table of section names");
}

#[test]
fn section_headers_begin_behind_the_header() {
    let file = Edited::of(&Maker::new(1)).with_headers_first();
    file_taken(&file.0);
    let mut inside = file;
    inside.in_header(&header::SECTIONS_AT, 63);
    refused(&inside.0, Errno::EINVAL, "section headers at +0x3f");
}

#[test]
fn string_tables_begin_and_end_with_nul() {
    let names = Edited::of(&Maker::new(1)).contents(".strtab");
    for at in [names.start, names.end - 1] {
        let file = edited(|file| file.0[at] = b'x');
        refused(&file, Errno::EINVAL, "must start and end with NUL");
    }
}

/// 1,024 bytes of a section's name are read, which may end within a character.
#[test]
fn a_long_name_may_be_cut_inside_a_character_and_must_be_text() {
    let name = "\u{20ac}".repeat(400);
    let with = |name: &str| changed(|maker| maker.sections.push(Extra::new(name, A, &[1])));
    taken(&with(&name));
    let file = edited_from(&with(&name), |file| {
        let mut names = file.0.windows(name.len());
        let at = names.position(|text| text == name.as_bytes()).unwrap();
        file.0[at + 500] = 0xff;
    });
    refused(&file, Errno::EINVAL, "its name cannot be read");
}

/// What is read of a symbol's name shows that it is too long, wherever its characters end.
#[test]
fn a_symbols_name_is_too_long_whatever_its_characters() {
    for first in ["", "a", "aa", "aaa"] {
        for character in ["a", "\u{e9}", "\u{20ac}", "\u{10348}"] {
            for count in [SYMBOL_NAME_BYTES_MAX.div_ceil(character.len()), 400] {
                let name = format!("{first}{}", character.repeat(count));
                let name: &'static str = Box::leak(name.into_boxed_str());
                let with = changed(|maker| maker.labels.push((name, "new", 0)));
                if name.len() <= SYMBOL_NAME_BYTES_MAX {
                    taken(&with);
                } else {
                    let says = "a symbol name of at least";
                    refused(&with.write(), Errno::EINVAL, says);
                }
            }
        }
    }
}

#[test]
fn alignments_are_powers_of_two_and_addresses_keep_them() {
    let with = |flags: u64, alignment: u64, address: u64| {
        let maker = changed(|maker| maker.sections.push(Extra::new("x", flags, &[1; 8])));
        edited_from(&maker, |file| {
            file.in_section("x", &section::ALIGNMENT, alignment);
            file.in_section("x", &section::ADDRESS, address);
        })
    };
    for (flags, alignment, address) in [
        (A, 1, 0),
        (A, 1, 5),
        (A, 8, 16),
        (A, PAGE_BYTES, 0),
        // 0 is as good as 1 where no memory is occupied.
        (0, 0, 0),
        (0, 0, 5),
    ] {
        file_taken(&with(flags, alignment, address));
    }
    let says = "is no power of two";
    for (flags, alignment) in [(A, 0), (A, 3), (0, 3), (A, 2 * PAGE_BYTES)] {
        refused_before_memory(&with(flags, alignment, 0), Errno::EINVAL, says);
    }
    let says = "is not a multiple of the alignment";
    for flags in [A, 0] {
        refused_before_memory(&with(flags, 8, 12), Errno::EINVAL, says);
    }
}

#[test]
fn what_is_not_loaded_may_be_odd() {
    let without_contents = changed(|maker| maker.sections.push(Extra::new("x", 0, &[])));
    file_taken(&edited_from(&without_contents, |file| {
        file.in_section("x", &section::KIND, UNUSED);
        file.in_section("x", &section::SIZE, 2 * PAYLOAD_BYTES_MAX as u64);
    }));
    taken(&changed(|maker| {
        maker.sections.push(Extra::new("x", WX, &[1]));
    }));
    // Of another ABI's prefix, and relocated in no known way.
    let extra = Extra::new(".livepatch.x", 0, &[0; 8]).relocated(0, 9, "f0", 0);
    taken(&changed(|maker| maker.sections.push(extra)));
    let beyond = changed(|maker| {
        maker.sections.push(Extra::new("x", 0, &[1]));
        maker.labels.push(("label", "new", 0));
    });
    file_taken(&edited_from(&beyond, |file| {
        let index = file.index("x") as u64;
        file.in_symbol("label", &symbol::SECTION, index);
        file.in_symbol("label", &symbol::VALUE, 1 << 40);
    }));
}

#[test]
fn a_symbol_is_in_a_section_or_an_address() {
    let labelled = changed(|maker| maker.labels.push(("label", "new", 0)));
    let at = |place: u64| {
        edited_from(&labelled, |file| {
            file.in_symbol("label", &symbol::SECTION, place);
        })
    };
    file_taken(&at(SHN_ABS));
    refused_before_memory(&at(SHN_COMMON), Errno::EINVAL, "a COMMON symbol");
    for place in [SHN_RESERVED, NO_SECTION] {
        refused_before_memory(&at(place), Errno::EINVAL, "no section of the payload");
    }
    // The value is what others are relocated to.
    let mut maker = labelled.clone();
    let extra = Extra::new(".rodata.x", A, &[0; 8]).relocated(0, R64, "label", 1);
    maker.sections.push(extra);
    let value = 0x1234_5678_9abc_u64;
    let file = edited_from(&maker, |file| {
        file.in_symbol("label", &symbol::SECTION, SHN_ABS);
        file.in_symbol("label", &symbol::VALUE, value);
    });
    let runtime = runtime();
    assert_eq!(runtime.upload("one", &file), 0);
    let memory = runtime.platform().snapshot();
    let field = (value + 1).to_le_bytes();
    let holds = |bytes: &[u8]| bytes.windows(field.len()).any(|at| at == field);
    assert!(memory.iter().any(|(_, bytes, _)| holds(bytes)));
}

#[test]
fn relocations_are_judged_before_memory_is_asked_for() {
    use Errno as E;
    let table = |field, value, errno, says| {
        let file = edited(|file| {
            file.in_section(RELOCATIONS, &field, value);
        });
        refused_before_memory(&file, errno, says);
    };
    table(section::KIND, REL, E::EOPNOTSUPP, "only RELA is taken");
    let says = "does not exist or has no contents";
    table(section::INFO, 0, E::EINVAL, says);
    table(section::INFO, NO_SECTION, E::EINVAL, says);
    table(section::LINK, 1, E::EINVAL, "symbol table");
    let entry = |field, value, errno, says| {
        let file = edited(|file| {
            file.in_relocation(RELOCATIONS, 0, &field, value);
        });
        refused_before_memory(&file, errno, says);
    };
    entry(relocation::SYMBOL, 0, E::EOPNOTSUPP, "without a symbol");
    let says = "symbol 999 does not exist";
    entry(relocation::SYMBOL, 999, E::EINVAL, says);
    entry(relocation::KIND, 9, E::EOPNOTSUPP, "relocation type 9");
    let says = "lies beyond the section";
    entry(relocation::OFFSET, 57, E::EINVAL, says);
    entry(relocation::OFFSET, u64::MAX, E::EINVAL, says);

    let unloaded = edited(|file| {
        let index = file.index(".strtab") as u64;
        file.in_symbol("new", &symbol::SECTION, index);
    });
    refused_before_memory(&unloaded, E::EINVAL, "a section that is not loaded");
    let mut zeroes = Extra::new(".bss.x", AW, &[]).relocated(0, R64, "f0", 0);
    zeroes.kind = SectionKind::UninitializedData;
    zeroes.bss = 8;
    let file = changed(|maker| maker.sections.push(zeroes)).write();
    let says = "does not exist or has no contents";
    refused_before_memory(&file, E::EINVAL, says);
}

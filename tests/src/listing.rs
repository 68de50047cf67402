//! Prints a payload as text: the golden form that a reviewer reads.
//!
//! It reads with goblin and decodes records and notes from the numbers of `xsplice-abi`, so that
//! nothing of the tools under test takes part in saying what they wrote.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use goblin::elf::section_header::{
    SHF_EXECINSTR, SHT_NOBITS, SHT_NOTE, SHT_RELA, SHT_STRTAB, SHT_SYMTAB,
};
use goblin::elf::{Elf, Reloc, SectionHeader};
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use xsplice_abi::profile::Profile;
use xsplice_abi::{note, section};

/// The listing of `payload`.
///
/// # Errors
/// When goblin does not read it or a table points outside the file.
pub fn listing(payload: &[u8]) -> Result<String> {
    let elf = Elf::parse(payload).context("goblin does not read it")?;
    let mut out = String::new();
    writeln!(
        out,
        "type {} machine {} segments {}",
        elf.header.e_type, elf.header.e_machine, elf.header.e_phnum
    )?;
    writeln!(out, "\nsections")?;
    for (index, header) in elf.section_headers.iter().enumerate().skip(1) {
        writeln!(
            out,
            "  [{index:2}] {:<36} type {:<2} flags {:<4} align {:<2} entry {:<3} size {}",
            section_name(&elf, index),
            header.sh_type,
            flags(header.sh_flags),
            header.sh_addralign,
            header.sh_entsize,
            header.sh_size,
        )?;
    }
    writeln!(out, "\nsymbols")?;
    for symbol in elf.syms.iter().skip(1) {
        let name = elf.strtab.get_at(symbol.st_name).unwrap_or("?");
        let place = match symbol.st_shndx {
            0 => "UNDEF".to_owned(),
            0xfff1 => format!("ABS {:#x}", symbol.st_value),
            index => format!("{}+{:#x}", section_name(&elf, index), symbol.st_value),
        };
        writeln!(
            out,
            "  {} {} {:<24} size {:<4} {place}",
            goblin::elf::sym::bind_to_str(symbol.st_bind()),
            goblin::elf::sym::type_to_str(symbol.st_type()),
            if name.is_empty() { "-" } else { name },
            symbol.st_size,
        )?;
    }
    for (index, header) in elf.section_headers.iter().enumerate().skip(1) {
        if matches!(header.sh_type, SHT_SYMTAB | SHT_STRTAB | SHT_RELA) {
            continue;
        }
        let name = section_name(&elf, index);
        writeln!(out, "\n{name}")?;
        let relocations = relocations(&elf, index);
        let bytes = bytes(payload, header).with_context(|| name.clone())?;
        contents(&mut out, &elf, &name, header, bytes, &relocations)?;
    }
    Ok(out)
}

fn contents(
    out: &mut String,
    elf: &Elf<'_>,
    name: &str,
    header: &SectionHeader,
    bytes: &[u8],
    relocations: &[Reloc],
) -> Result<()> {
    if header.sh_flags & u64::from(SHF_EXECINSTR) != 0 {
        disassemble(out, bytes)?;
    } else if header.sh_type == SHT_NOTE || name.ends_with(section::DEPENDS) {
        let id = note::build_id(bytes).context("no build-id note")?;
        writeln!(out, "  build-id {}", hex(id))?;
    } else if name == section::MODINFO || name.ends_with(".strings") || is_text(bytes) {
        ensure!(bytes.ends_with(&[0]), "{name}: does not end with NUL");
        for text in bytes[..bytes.len() - 1].split(|byte| *byte == 0) {
            writeln!(out, "  {:?}", String::from_utf8_lossy(text))?;
        }
    } else if header.sh_type == SHT_NOBITS {
        writeln!(out, "  {} zero bytes", header.sh_size)?;
    } else {
        for (line, chunk) in bytes.chunks(16).enumerate() {
            writeln!(out, "  {:4x}  {}", line * 16, hex(chunk))?;
        }
    }
    for relocation in relocations {
        let target = elf
            .syms
            .get(relocation.r_sym)
            .context("a relocation names no symbol")?;
        let symbol = match elf.strtab.get_at(target.st_name) {
            Some("") | None => section_name(elf, target.st_shndx),
            Some(name) => name.to_owned(),
        };
        writeln!(
            out,
            "  {:4x}  R_{} {symbol}{:+#x}",
            relocation.r_offset,
            goblin::elf::reloc::r_to_str(relocation.r_type, elf.header.e_machine),
            Signed(relocation.r_addend.unwrap_or(0)),
        )?;
    }
    Ok(())
}

/// Prints as signed hexadecimal, which `{:x}` alone does not.
struct Signed(i64);

impl std::fmt::LowerHex for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

fn disassemble(out: &mut String, code: &[u8]) -> Result<()> {
    let mut formatter = GasFormatter::new();
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        let start = usize::try_from(instruction.ip())?;
        let raw = &code[start..start + instruction.len()];
        writeln!(out, "  {start:4x}  {:<24} {text}", hex(raw))?;
    }
    Ok(())
}

/// A relocation section applies to the section that its `sh_info` names.
pub(crate) fn relocations(elf: &Elf<'_>, target: usize) -> Vec<Reloc> {
    elf.shdr_relocs
        .iter()
        .filter(|(index, _)| {
            elf.section_headers
                .get(*index)
                .is_some_and(|header| usize::try_from(header.sh_info) == Ok(target))
        })
        .flat_map(|(_, relocations)| relocations.iter())
        .collect()
}

/// Whether the field counts from its own place.
pub(crate) fn is_relative(relocation: &Reloc) -> bool {
    use goblin::elf::reloc::{R_X86_64_PC32, R_X86_64_PC64, R_X86_64_PLT32};
    [R_X86_64_PC32, R_X86_64_PC64, R_X86_64_PLT32].contains(&relocation.r_type)
}

/// The relocations of the section called `name`.
#[must_use]
pub fn relocations_of(elf: &Elf<'_>, name: &str) -> Vec<Reloc> {
    (0..elf.section_headers.len())
        .filter(|index| section_name(elf, *index) == name)
        .flat_map(|index| relocations(elf, index))
        .collect()
}

/// The bytes of the section called `name`, if there is exactly one.
#[must_use]
pub fn section_bytes<'data>(elf: &Elf<'_>, file: &'data [u8], name: &str) -> Option<&'data [u8]> {
    let mut found =
        (0..elf.section_headers.len()).filter(|index| section_name(elf, *index) == name);
    let index = found.next()?;
    if found.next().is_some() {
        return None;
    }
    bytes(file, &elf.section_headers[index]).ok()
}

/// The profile whose records `elf` carries or whose notes it has.
#[must_use]
pub fn profile(elf: &Elf<'_>) -> Option<&'static Profile> {
    xsplice_abi::profile::ALL.into_iter().find(|profile| {
        (0..elf.section_headers.len())
            .any(|index| section_name(elf, index).starts_with(profile.prefix))
    })
}

pub(crate) fn section_name(elf: &Elf<'_>, index: usize) -> String {
    elf.section_headers
        .get(index)
        .and_then(|header| elf.shdr_strtab.get_at(header.sh_name))
        .unwrap_or("?")
        .to_owned()
}

pub(crate) fn bytes<'data>(file: &'data [u8], header: &SectionHeader) -> Result<&'data [u8]> {
    if header.sh_type == SHT_NOBITS {
        return Ok(&[]);
    }
    let start = usize::try_from(header.sh_offset)?;
    let end = start
        .checked_add(usize::try_from(header.sh_size)?)
        .context("the section wraps around")?;
    file.get(start..end)
        .context("the section ends outside the file")
}

fn flags(bits: u64) -> String {
    let mut text = String::new();
    for (bit, letter) in [
        (1, 'W'),
        (2, 'A'),
        (4, 'X'),
        (16, 'M'),
        (32, 'S'),
        (64, 'I'),
        (128, 'L'),
        (512, 'G'),
    ] {
        if bits & bit != 0 {
            text.push(letter);
        }
    }
    text
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.len() > 1
        && bytes.ends_with(&[0])
        // Zeros alone are a number or a pointer.
        && bytes.iter().any(|byte| *byte != 0)
        && bytes.iter().all(|byte| {
            *byte == 0 || byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n' | b'\t')
        })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

//! A second look at each payload: the account agrees with the comparison, and the payload brings no
//! constant that the base has. A constant's address may be its identity, so code of a payload
//! refers to the base's wherever nothing changed. Texts are counted alone: a literal has no name
//! that a loader knows, and C does not say whether two equal ones are one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use goblin::elf::Elf;
use goblin::elf::SectionHeader;
use goblin::elf::section_header::{SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHN_XINDEX, SHT_PROGBITS};
use serde_json::Value;
use xsplice_abi::machine::{DistanceOrigin, Machine};
use xsplice_diff::machine::{Flow, walk};

use super::table::Row;

/// Shorter ones are in any image by chance.
const CONSTANT_BYTES_MIN: usize = 4;

/// The row about the account and the constants of a payload whose report lies beside it.
pub fn row(name: &str, payload: &Path, image: &Path) -> Result<Row> {
    let report = payload.with_extension("json");
    let report = fs::read(&report).with_context(|| format!("cannot read {}", report.display()))?;
    let report: Value = serde_json::from_slice(&report).context("a report is JSON")?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("no {}", path.display()));
    let found = constants(&read(payload)?, &read(image)?)?;
    let in_base = || found.iter().filter(|constant| constant.is_in_base);
    let texts = in_base().filter(|constant| constant.is_text).count();
    let copied: Vec<&str> = in_base()
        .filter(|constant| !constant.is_text)
        .map(|constant| constant.place.as_str())
        .collect();
    let seen = match agrees(&report) {
        Err(what) => Err(what),
        Ok(()) if copied.is_empty() => Ok(format!(
            "{} constants, {texts} of them texts that the base has too",
            found.len()
        )),
        Ok(()) => Err(format!(
            "{} of {} constants are in the base: {}",
            copied.len(),
            found.len(),
            copied.join(", ")
        )),
    };
    Ok(Row {
        name: format!("second look {name}"),
        expected: "the account agrees, no constant of the base is copied but texts".to_owned(),
        seen,
    })
}

/// Whether the account of a report was made, of both links, and is complete.
fn agrees(report: &Value) -> Result<(), String> {
    let account = &report["account"];
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let complete = [
        ("a place in the base", &account["base"]["unknown"]),
        ("a place once applied", &account["after"]["missing"]),
        ("an equal link", &account["link"]["differences"]),
    ];
    let lacking = complete.iter().find(|(_, list)| !is_empty(list));
    match lacking {
        Some((what, list)) => Err(format!("the account misses {what}: {list}")),
        None => Ok(()),
    }
}

/// A constant of a payload.
#[derive(Debug, PartialEq, Eq)]
struct Constant {
    /// Section and offset.
    place: String,
    /// Whether it is a string of one byte a letter.
    is_text: bool,
    /// Whether read-only data of the base has its bytes.
    is_in_base: bool,
}

/// The constants of a payload: what its code and data lead to in read-only sections of its own.
/// Tables of addresses are none: where their entries lead differs.
fn constants(payload: &[u8], image: &[u8]) -> Result<Vec<Constant>> {
    let base = Elf::parse(image).context("the base is ELF")?;
    let is_constant = |flags: u64| {
        let both = u64::from(SHF_WRITE | SHF_EXECINSTR);
        flags & u64::from(SHF_ALLOC) != 0 && flags & both == 0
    };
    // A link script may put constants beside what is written: Xen's on x86-64 marks all so.
    let is_of_constants = |section: &&SectionHeader| {
        let name = base.shdr_strtab.get_at(section.sh_name).unwrap_or_default();
        is_constant(section.sh_flags) || name.starts_with(".rodata")
    };
    let of_base: Vec<&[u8]> = base
        .section_headers
        .iter()
        .filter(|section| section.sh_type == SHT_PROGBITS)
        .filter(is_of_constants)
        .filter_map(|section| image.get(section.file_range()?))
        .collect();
    let elf = Elf::parse(payload).context("the payload is ELF")?;
    let machine = Machine::of(elf.header.e_machine).context("a known machine")?;
    let starts = led_to(&elf, machine);
    let jumping = jumping(&elf, payload, machine);
    let mut found = Vec::new();
    for (index, section) in elf.section_headers.iter().enumerate() {
        let name = elf.shdr_strtab.get_at(section.sh_name).unwrap_or_default();
        let (Some(starts), Some(bytes)) = (starts.get(&index), section.file_range()) else {
            continue;
        };
        if !is_constant(section.sh_flags) || !name.starts_with(".rodata") {
            continue;
        }
        let bytes = payload.get(bytes).context("a section is in the file")?;
        let fields = fields(&elf, index);
        for (range, next) in ranges(starts, bytes.len()) {
            if fields.range(range.start..next).next().is_some() {
                continue;
            }
            let constant = without_filler(&bytes[range.clone()]);
            let is_text = constant.ends_with(&[0]) && !constant[..constant.len() - 1].contains(&0);
            if !is_text && jumping.contains(&(index, range.start)) {
                continue;
            }
            let is_in_base = constant.len() >= CONSTANT_BYTES_MIN
                && of_base
                    .iter()
                    .any(|section| section.windows(constant.len()).any(|one| one == constant));
            found.push(Constant {
                place: format!("{name}+{:#x}", range.start),
                is_text,
                is_in_base,
            });
        }
    }
    Ok(found)
}

/// Ranges between starts, each with where the next begins.
fn ranges(starts: &BTreeSet<usize>, end: usize) -> Vec<(Range<usize>, usize)> {
    let next = starts.iter().skip(1).copied().chain([end]);
    let all = starts.iter().copied().zip(next);
    let inside = all.filter(|&(start, next)| start < next && next <= end);
    inside.map(|(start, next)| (start..next, next)).collect()
}

/// A constant with at most one of the zeros that it ends with: more may only fill up to the next.
fn without_filler(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|&byte| byte != 0);
    let end = last.map_or(0, |last| (last + 2).min(bytes.len()));
    &bytes[..end]
}

/// Offsets of the fields of a section that relocations fill.
fn fields(elf: &Elf<'_>, section: usize) -> BTreeSet<usize> {
    let own = elf.shdr_relocs.iter().filter(|(index, _)| {
        let header = &elf.section_headers[*index];
        usize::try_from(header.sh_info) == Ok(section)
    });
    own.flat_map(|(_, all)| all.iter())
        .filter_map(|one| usize::try_from(one.r_offset).ok())
        .collect()
}

/// Places of read-only data that functions lead to which jump to what they read, on a machine
/// whose tables of a `switch` hold distances without relocations: those belong to the code.
fn jumping(elf: &Elf<'_>, payload: &[u8], machine: &Machine) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    if machine.instruction_bytes.is_none() {
        return found;
    }
    for (index, all) in &elf.shdr_relocs {
        let target = usize::try_from(elf.section_headers[*index].sh_info).unwrap_or_default();
        let bytes = elf
            .section_headers
            .get(target)
            .and_then(|one| one.file_range());
        let code = bytes
            .and_then(|bytes| payload.get(bytes))
            .unwrap_or_default();
        let functions = elf.syms.iter().filter(|one| one.is_function());
        for function in functions.filter(|one| one.st_shndx == target) {
            let range = function.st_value..function.st_value + function.st_size;
            let own = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok());
            let own = own.and_then(|(start, end)| code.get(start..end));
            let mut steps = walk(machine, own.unwrap_or_default(), 0);
            if !steps.any(|one| one.flow == Flow::IndirectJump) {
                continue;
            }
            for one in all.iter().filter(|one| range.contains(&one.r_offset)) {
                let value = elf
                    .syms
                    .get(one.r_sym)
                    .map(|symbol| (symbol.st_shndx, symbol.st_value));
                let Some((section, value)) = value else {
                    continue;
                };
                let at = value.wrapping_add_signed(one.r_addend.unwrap_or_default());
                found.extend(usize::try_from(at).ok().map(|at| (section, at)));
            }
        }
    }
    found
}

/// Section → offsets that relocations lead to.
fn led_to(elf: &Elf<'_>, machine: &Machine) -> BTreeMap<usize, BTreeSet<usize>> {
    /// A distance that counts from the end of an instruction begins so far in front of it.
    const BEHIND_FIELD: i64 = 4;
    let mut found: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (index, all) in &elf.shdr_relocs {
        let target = usize::try_from(elf.section_headers[*index].sh_info);
        let header = target.ok().and_then(|at| elf.section_headers.get(at));
        let is_code = header.is_some_and(|one| one.sh_flags & u64::from(SHF_EXECINSTR) != 0);
        for one in all.iter() {
            let Some(symbol) = elf.syms.get(one.r_sym) else {
                continue;
            };
            let is_own = symbol.st_shndx != 0 && symbol.st_shndx < SHN_XINDEX as usize;
            let counts_from_end = machine.distance_origin == DistanceOrigin::InstructionEnd;
            let is_word = one.r_type == machine.word.number;
            let is_distance = is_code && counts_from_end && !is_word;
            let behind = if is_distance { BEHIND_FIELD } else { 0 };
            let value = symbol.st_value.cast_signed() + one.r_addend.unwrap_or_default() + behind;
            if let (true, Ok(value)) = (is_own, usize::try_from(value)) {
                found.entry(symbol.st_shndx).or_default().insert(value);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn built(source: &str, arguments: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("x.s"), source).expect("a file");
        let mut gcc = Command::new("gcc");
        gcc.args(arguments).arg("-o").args([at("out"), at("x.s")]);
        assert!(gcc.status().expect("gcc is installed").success());
        fs::read(at("out")).expect("gcc wrote it")
    }

    #[test]
    fn a_text_of_the_base_is_told_from_a_new_one() {
        const LINKED: [&str; 3] = ["-nostdlib", "-static", "-Wl,-e,0"];
        let base = built(".section .rodata\n.asciz \"as before\"\n", &LINKED);
        let written = built(".section .rodata,\"aw\"\n.asciz \"as before\"\n", &LINKED);
        let payload = built(
            ".text\nleaq .Lone(%rip), %rax\nleaq .Ltwo(%rip), %rax\n\
             leaq .Ltable(%rip), %rax\n\
             .section .rodata\n.Lone: .asciz \"as before\"\n.balign 8\n.Ltwo: .asciz \"new one\"\n\
             .Ltable: .quad .Lone\n",
            &["-c"],
        );
        for base in [base, written] {
            let found = constants(&payload, &base).expect("both are ELF");
            let is_in_base: Vec<bool> = found.iter().map(|one| one.is_in_base).collect();
            assert_eq!(is_in_base, [true, false], "{found:?}");
            assert!(found.iter().all(|one| one.is_text), "{found:?}");
        }
    }
}

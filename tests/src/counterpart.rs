//! What a payload must be for another ABI: derived from the one for the default ABI by what the
//! format's description says, and compared with what the tools wrote, as goblin reads both.
//!
//! The numbers stand here as `docs/payload-format.md` gives them and do not come from
//! `xsplice-abi`: a profile that changed there by mistake would change both sides.

use anyhow::{Context, Result, ensure};
use goblin::elf::Elf;
use goblin::elf::section_header::{SHT_RELA, SHT_STRTAB, SHT_SYMTAB};
use similar::TextDiff;
use xsplice_abi::{Profile, section};

use crate::listing::{bytes, relocations, section_name};

/// Size of a record for the default ABI, and of the head that all share, in bytes.
const RECORD_BYTES: usize = 64;
const HEAD_BYTES: usize = 32;

/// Size of an entry of `.xsplice.expect`: a length and 31 bytes.
const EXPECT_BYTES: usize = 32;

/// Stands for the prefix of an ABI's own sections.
const OWN: &str = "OWN.";

/// What differs from the default ABI.
struct Differences {
    /// Tail of a record behind the head, from its entry of `.xsplice.expect`.
    tail: fn(&[u8]) -> Vec<u8>,
    /// Sections of the default ABI that this one does not have, behind the prefix.
    absent: &'static [&'static str],
}

fn differences(abi: &Profile) -> Result<Differences> {
    match abi.name {
        "xsplice-v1" => Ok(Differences {
            // A version, then zeros.
            tail: |_| [&[1_u8][..], &[0; 31]].concat(),
            absent: &["expect", "xen_depends"],
        }),
        "livepatch" => Ok(Differences {
            // A version, zeros, and the expectation: bit 0 says that there is one, the length
            // follows in bits 1 to 5.
            tail: |expect| {
                let control = match expect[0] {
                    0 => 0,
                    length => 1 | (length << 1),
                };
                [&[2_u8][..], &[0; 39], &[control], &expect[1..]].concat()
            },
            absent: &["expect"],
        }),
        other => anyhow::bail!("{other}: what differs from the default ABI is not written down"),
    }
}

/// What goblin reads, in words that are the same for every ABI.
struct Payload {
    sections: Vec<Section>,
    symbols: Vec<String>,
}

struct Section {
    name: String,
    /// Type, flags, alignment.
    form: String,
    entry_bytes: usize,
    bytes: Vec<u8>,
    /// Offset, type and target.
    relocations: Vec<(usize, String)>,
}

fn read(file: &[u8], abi: &Profile) -> Result<Payload> {
    let elf = Elf::parse(file).context("goblin does not read it")?;
    let own = |name: String| match name.strip_prefix(abi.prefix) {
        Some(rest) => format!("{OWN}{rest}"),
        None => name,
    };
    let place = |symbol: &goblin::elf::Sym| {
        let section = match symbol.st_shndx {
            0 => "undefined".to_owned(),
            0xfff1 => "absolute".to_owned(),
            index => own(section_name(&elf, index)),
        };
        let name = elf.strtab.get_at(symbol.st_name).unwrap_or("?");
        format!("{name:?} {section}+{:#x}", symbol.st_value)
    };
    let mut sections = Vec::new();
    for (index, header) in elf.section_headers.iter().enumerate().skip(1) {
        // Their contents are read as relocations, symbols and names.
        if matches!(header.sh_type, SHT_RELA | SHT_SYMTAB | SHT_STRTAB) {
            continue;
        }
        let mut entries = Vec::new();
        for entry in relocations(&elf, index) {
            let symbol = elf.syms.get(entry.r_sym).context("no such symbol")?;
            let told = format!("{} {} {:?}", entry.r_type, place(&symbol), entry.r_addend);
            entries.push((usize::try_from(entry.r_offset)?, told));
        }
        sections.push(Section {
            name: own(section_name(&elf, index)),
            form: format!(
                "type {} flags {:#x} align {} of {} bytes",
                header.sh_type, header.sh_flags, header.sh_addralign, header.sh_size
            ),
            entry_bytes: usize::try_from(header.sh_entsize)?,
            bytes: bytes(file, header)?.to_vec(),
            relocations: entries,
        });
    }
    let symbols = elf
        .syms
        .iter()
        .skip(1)
        .map(|one| {
            let (info, other, size) = (one.st_info, one.st_other, one.st_size);
            format!("{} info {info:#x} other {other} size {size}", place(&one))
        })
        .collect();
    Ok(Payload { sections, symbols })
}

impl Payload {
    fn own(&self, name: &str) -> Option<&Section> {
        let name = format!("{OWN}{name}");
        self.sections.iter().find(|one| one.name == name)
    }

    /// Turns the payload for the default ABI into the one for `abi`.
    fn become_one_for(mut self, abi: &Profile) -> Result<Payload> {
        let differences = differences(abi)?;
        let expect = self.own("expect").map(|one| one.bytes.clone());
        let is_absent = |name: &str| {
            let own = name.strip_prefix(OWN);
            own.is_some_and(|name| differences.absent.contains(&name))
        };
        self.sections.retain(|one| !is_absent(&one.name));
        for section in &mut self.sections {
            match section.name.as_str() {
                "OWN.funcs" => {
                    let expect = expect.as_deref().context("records without expectations")?;
                    section.become_records(&differences, expect)?;
                }
                ".modinfo" => {
                    let text = std::str::from_utf8(&section.bytes)?;
                    let theirs = format!("abi={}\0", abi.name);
                    section.bytes = text.replacen("abi=xsplice\0", &theirs, 1).into_bytes();
                    section.resize("flags 0x2 align 1");
                }
                _ => {}
            }
        }
        Ok(self)
    }

    /// Everything, one thing a line. The payload's own build-id is left out: it hashes the rest.
    fn lines(&self) -> String {
        let mut lines = String::new();
        for section in &self.sections {
            let Section { name, form, .. } = section;
            lines.push_str(&format!("{name} {form} entry {}\n", section.entry_bytes));
            if name != section::BUILD_ID {
                for (index, chunk) in section.bytes.chunks(16).enumerate() {
                    lines.push_str(&format!("{name}+{:#x} {chunk:02x?}\n", index * 16));
                }
            }
            for (offset, told) in &section.relocations {
                lines.push_str(&format!("{name}+{offset:#x} {told}\n"));
            }
        }
        lines + &self.symbols.join("\n") + "\n"
    }
}

impl Section {
    fn become_records(&mut self, differences: &Differences, expect: &[u8]) -> Result<()> {
        let count = self.bytes.len() / RECORD_BYTES;
        ensure!(expect.len() == count * EXPECT_BYTES, "an expectation each");
        let mut records = Vec::new();
        for (record, expect) in self
            .bytes
            .chunks(RECORD_BYTES)
            .zip(expect.chunks(EXPECT_BYTES))
        {
            let (head, tail) = record.split_at(HEAD_BYTES);
            ensure!(tail.iter().all(|byte| *byte == 0), "a tail of zeros");
            records.extend_from_slice(head);
            records.extend((differences.tail)(expect));
        }
        self.bytes = records;
        self.entry_bytes = self.bytes.len().checked_div(count).unwrap_or(RECORD_BYTES);
        for (offset, _) in &mut self.relocations {
            *offset = *offset / RECORD_BYTES * self.entry_bytes + *offset % RECORD_BYTES;
        }
        self.resize("flags 0x3 align 8");
        Ok(())
    }

    fn resize(&mut self, form: &str) {
        self.form = format!("type 1 {form} of {} bytes", self.bytes.len());
    }
}

/// Whether `other` is what `default`, a payload for the default ABI, must be for `abi`; with one
/// bit of any of its sections changed it must not be.
///
/// # Errors
/// When it is not, with the difference, or when either is not read.
pub fn check(default: &[u8], other: &[u8], abi: &'static Profile) -> Result<()> {
    compare(default, other, abi)?;
    let elf = Elf::parse(other).context("goblin does not read it")?;
    for (index, header) in elf.section_headers.iter().enumerate().skip(1) {
        let name = section_name(&elf, index);
        let held = bytes(other, header)?;
        if held.is_empty() || name == section::BUILD_ID || header.sh_type == SHT_STRTAB {
            continue;
        }
        let mut changed = other.to_vec();
        changed[usize::try_from(header.sh_offset)? + held.len() / 2] ^= 1;
        ensure!(
            compare(default, &changed, abi).is_err(),
            "{name}: a changed bit, and nobody sees it"
        );
    }
    Ok(())
}

fn compare(default: &[u8], other: &[u8], abi: &'static Profile) -> Result<()> {
    let default = read(default, &xsplice_abi::profile::XSPLICE)?;
    let wanted = default.become_one_for(abi)?.lines();
    let found = read(other, abi)?.lines();
    let diff = TextDiff::from_lines(&wanted, &found);
    ensure!(
        wanted == found,
        "not what the payload for the default ABI makes of it:\n{}",
        diff.unified_diff().header("derived", "written")
    );
    Ok(())
}

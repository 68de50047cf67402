//! What `inspect` says of a payload against what goblin reads: every byte, relocation, symbol,
//! section, record and line of the metadata. Names of places are derived anew from the symbols.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use goblin::elf::section_header::{SHF_ALLOC, SHF_EXECINSTR, SHF_MERGE, SHF_WRITE};
use goblin::elf::sym::STB_LOCAL;
use goblin::elf::{Elf, Reloc, SectionHeader, Sym};
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use sha2::{Digest as _, Sha256};
use xsplice_abi::{Profile, note, record, section};
use xsplice_link::inspect::{CodeBlock, Inspection, inspect};

use crate::listing::{bytes, hex, relocations, relocations_of, section_bytes, section_name};

/// An entry of `.xsplice.expect`: a length, then the bytes.
const EXPECT_BYTES: usize = 32;

/// Where a `livepatch` record holds its expectation: one bit, the length in the next five, the
/// bytes.
const EXPECT_IN_RECORD: usize = 72;

struct Read<'data> {
    file: &'data [u8],
    elf: Elf<'data>,
    abi: &'static Profile,
}

/// One way to spoil an inspection; false where it has no place for it.
type Spoil = fn(&mut Inspection) -> bool;

/// Wrong inspections that the comparison must tell from the right one.
const SPOILS: [(&str, Spoil); 14] = [
    ("size", |page| {
        page.size += 1;
        true
    }),
    ("ABI", |page| {
        page.abi.push('?');
        true
    }),
    ("what it depends on", |page| page.depends.take().is_some()),
    ("metadata", |page| page.metadata.pop().is_some()),
    ("symbol", |page| page.symbols.pop().is_some()),
    ("undefined symbol", |page| page.undefined.pop().is_some()),
    ("section", |page| page.sections.pop().is_some()),
    ("record", |page| page.records.pop().is_some()),
    ("old address", |page| {
        let first = page.records.first_mut();
        first.is_some_and(|one| one.old.pop().is_some())
    }),
    ("addend", |page| {
        let first = page.references.first_mut();
        first.is_some_and(|one| std::mem::replace(&mut one.addend, 1 << 40) != 1 << 40)
    }),
    ("instruction", |page| {
        let first = page.code.first_mut();
        first.is_some_and(|one| one.instructions.pop().is_some())
    }),
    ("mnemonic", |page| {
        let first = page
            .code
            .first_mut()
            .and_then(|one| one.instructions.first_mut());
        first.is_some_and(|one| !std::mem::replace(&mut one.text, "hlt".to_owned()).is_empty())
    }),
    ("data", |page| {
        page.data.pop().is_some_and(|one| one.size != 0)
    }),
    ("entry of a table", |page| {
        let first = page.tables.first_mut();
        first.is_some_and(|one| one.items.pop().is_some())
    }),
];

/// Compares the inspection of `file` with what goblin reads; a spoiled one must differ.
///
/// # Errors
/// When anything is missing, too much or another thing.
pub fn check(name: &str, file: &[u8], abi: &'static Profile) -> Result<()> {
    let page = inspect(name, file)?;
    compare(&page, file, abi)?;
    for (what, spoil) in SPOILS {
        let mut page = page.clone();
        ensure!(
            !spoil(&mut page) || compare(&page, file, abi).is_err(),
            "{what}: spoiled, and nobody sees it"
        );
    }
    Ok(())
}

fn compare(page: &Inspection, file: &[u8], abi: &'static Profile) -> Result<()> {
    let read = Read {
        file,
        elf: Elf::parse(file).context("goblin")?,
        abi,
    };
    read.identity(page)?;
    read.symbols(page)?;
    read.sections(page)?;
    read.references(page)?;
    read.records(page)?;
    read.code(page)?;
    read.data(page)?;
    read.tables(page)?;
    // The page that people read is made of the same, and leaves no name out.
    let text = page.to_string();
    for name in page.symbols.iter().map(|one| &one.name) {
        ensure!(text.contains(name.as_str()), "{name} is not on the page");
    }
    Ok(())
}

impl<'data> Read<'data> {
    fn loaded(&self) -> impl Iterator<Item = (usize, String, &SectionHeader)> {
        let all = self.elf.section_headers.iter().enumerate();
        all.filter(|(_, one)| one.sh_flags & u64::from(SHF_ALLOC) != 0)
            .map(|(index, one)| (index, section_name(&self.elf, index), one))
    }

    fn own(&self, name: &str) -> Option<&'data [u8]> {
        section_bytes(&self.elf, self.file, &format!("{}{name}", self.abi.prefix))
    }

    fn name(&self, symbol: &Sym) -> &'data str {
        self.elf.strtab.get_at(symbol.st_name).unwrap_or("?")
    }

    /// Symbols with a name and a place in what is loaded, in the file's order; labels that a
    /// compiler makes for its strings are none.
    fn defined(&self) -> impl Iterator<Item = Sym> + '_ {
        self.elf.syms.iter().skip(1).filter(|one| {
            let flags = |flag: u32| {
                let header = self.elf.section_headers.get(one.st_shndx);
                header.is_some_and(|header| header.sh_flags & u64::from(flag) != 0)
            };
            let name = self.name(one);
            let is_label = name.starts_with(".L") && flags(SHF_MERGE);
            one.st_shndx != 0 && flags(SHF_ALLOC) && !name.is_empty() && !is_label
        })
    }

    /// What a place may be called: by any symbol that covers it, else by its section.
    fn names(&self, index: usize, offset: u64) -> Vec<String> {
        let names: Vec<String> = self
            .defined()
            .filter(|one| one.st_shndx == index)
            .filter_map(|one| {
                let distance = offset.checked_sub(one.st_value)?;
                let name = self.name(&one);
                match distance {
                    0 => Some(name.to_owned()),
                    _ if distance < one.st_size => Some(format!("{name}+{distance:#x}")),
                    _ => None,
                }
            })
            .collect();
        if names.is_empty() {
            return vec![format!("{}+{offset:#x}", section_name(&self.elf, index))];
        }
        names
    }

    /// What the target of a relocation may be called, `bias` bytes on.
    fn targets(&self, entry: &Reloc, bias: i64) -> Result<Vec<String>> {
        let symbol = self.elf.syms.get(entry.r_sym).context("no such symbol")?;
        let addend = entry.r_addend.unwrap_or(0).wrapping_add(bias);
        Ok(match symbol.st_shndx {
            0 if addend == 0 => vec![self.name(&symbol).to_owned()],
            0 => vec![format!(
                "{}{}{:#x}",
                self.name(&symbol),
                sign(addend),
                addend.unsigned_abs()
            )],
            index => self.names(index, symbol.st_value.wrapping_add_signed(addend)),
        })
    }

    fn identity(&self, page: &Inspection) -> Result<()> {
        let id = |note: Option<&[u8]>| note.and_then(note::build_id).map(hex);
        let text = section_bytes(&self.elf, self.file, section::MODINFO).context("no .modinfo")?;
        let metadata: Vec<(String, String)> = std::str::from_utf8(text)?
            .split_terminator('\0')
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let value = |wanted: &str| {
            let found = metadata.iter().find(|(key, _)| key == wanted);
            found.map(|(_, value)| value.clone())
        };
        ensure!(page.size == self.file.len(), "size {}", page.size);
        ensure!(page.sha256 == hex(&Sha256::digest(self.file)), "the hash");
        ensure!(page.abi == self.abi.name, "ABI {}", page.abi);
        ensure!(page.name == value("name"), "name {:?}", page.name);
        ensure!(page.metadata == metadata, "{:?}", page.metadata);
        let own = section_bytes(&self.elf, self.file, section::BUILD_ID);
        ensure!(page.build_id == id(own), "build-id {:?}", page.build_id);
        ensure!(
            page.depends == id(self.own(section::DEPENDS)),
            "depends {:?}",
            page.depends
        );
        ensure!(
            page.base_id == id(self.own(section::XEN_DEPENDS)),
            "base {:?}",
            page.base_id
        );
        ensure!(!page.signed && page.signature.is_none(), "no signature");
        Ok(())
    }

    fn symbols(&self, page: &Inspection) -> Result<()> {
        let all = self.elf.syms.iter().skip(1);
        let undefined: Vec<_> = all.filter(|one| one.st_shndx == 0).collect();
        let undefined: Vec<_> = undefined.iter().map(|one| self.name(one)).collect();
        ensure!(
            page.undefined == undefined,
            "undefined {:?}",
            page.undefined
        );
        let global = self.defined().filter(|one| one.st_bind() != STB_LOCAL);
        let global: Vec<_> = global.map(|one| self.name(&one)).collect();
        ensure!(page.exports == global, "exports {:?}", page.exports);
        let defined: Vec<_> = self
            .defined()
            .map(|one| (self.name(&one).to_owned(), one.st_size))
            .collect();
        let shown: Vec<_> = page
            .symbols
            .iter()
            .map(|one| (one.name.clone(), one.size))
            .collect();
        ensure!(shown == defined, "symbols {shown:?}, not {defined:?}");
        for (symbol, shown) in self.defined().zip(&page.symbols) {
            let section = section_name(&self.elf, symbol.st_shndx);
            ensure!(shown.section == section, "{shown:?} is in {section}");
        }
        Ok(())
    }

    fn sections(&self, page: &Inspection) -> Result<()> {
        let loaded: Vec<_> = self
            .loaded()
            .map(|(_, name, one)| {
                let has = |flag: u32| one.sh_flags & u64::from(flag) != 0;
                let region = match (has(SHF_EXECINSTR), has(SHF_WRITE)) {
                    (true, _) => "text",
                    (false, true) => "rw",
                    (false, false) => "ro",
                };
                (name, one.sh_size, region, one.sh_addralign)
            })
            .collect();
        let shown: Vec<_> = page
            .sections
            .iter()
            .map(|one| (one.name.clone(), one.size, one.region, one.alignment))
            .collect();
        ensure!(shown == loaded, "sections {shown:?}, not {loaded:?}");
        Ok(())
    }

    fn references(&self, page: &Inspection) -> Result<()> {
        let kind = |one: &Reloc| {
            let name = goblin::elf::reloc::r_to_str(one.r_type, self.elf.header.e_machine);
            format!("R_{name}")
        };
        let mut counts = BTreeMap::new();
        let mut shown = page.references.iter();
        for (table, entries) in &self.elf.shdr_relocs {
            let target = usize::try_from(self.elf.section_headers[*table].sh_info)?;
            for entry in entries {
                counts
                    .entry(entry.r_type)
                    .or_insert_with(|| (kind(&entry), 0_usize))
                    .1 += 1;
                let flags = self.elf.section_headers[target].sh_flags;
                if flags & u64::from(SHF_ALLOC) == 0 {
                    continue;
                }
                let line = shown.next().context("a relocation is not shown")?;
                let symbol = self.elf.syms.get(entry.r_sym).context("no such symbol")?;
                let targets = match self.name(&symbol) {
                    "" => self.names(symbol.st_shndx, symbol.st_value),
                    name => vec![name.to_owned()],
                };
                let places = self.names(target, entry.r_offset);
                ensure!(
                    line.kind == kind(&entry)
                        && entry.r_addend == Some(line.addend)
                        && targets.contains(&line.target)
                        && places.contains(&line.place),
                    "{line:?}, not {entry:?} at {places:?} of {targets:?}"
                );
            }
        }
        ensure!(shown.next().is_none(), "more relocations than there are");
        let counts: Vec<_> = counts.into_values().collect();
        ensure!(page.relocations == counts, "counts {:?}", page.relocations);
        Ok(())
    }

    fn records(&self, page: &Inspection) -> Result<()> {
        let records = self.own(section::FUNCS).unwrap_or_default();
        let fields = relocations_of(&self.elf, &format!("{}{}", self.abi.prefix, section::FUNCS));
        let count = records.len() / self.abi.record_bytes;
        ensure!(page.records.len() == count, "{count} records");
        for (index, (record, shown)) in records
            .chunks(self.abi.record_bytes)
            .zip(&page.records)
            .enumerate()
        {
            let start = index * self.abi.record_bytes;
            let field = |at: usize| {
                let at = u64::try_from(start + at)?;
                let found = fields.iter().find(|one| one.r_offset == at);
                found.context("a field without a relocation")
            };
            let word = |at: usize| -> Result<u32> {
                Ok(u32::from_le_bytes(record[at..at + 4].try_into()?))
            };
            let old = record[record::offset::OLD_ADDR..][..8].try_into()?;
            let old = format!("{:#x}", u64::from_le_bytes(old));
            let name = self.string(field(record::offset::NAME)?)?;
            ensure!(shown.name.as_deref() == Some(name), "{shown:?} is {name}");
            ensure!(
                shown.old == old
                    && shown.old_size == word(record::offset::OLD_SIZE)?
                    && shown.new_size == word(record::offset::NEW_SIZE)?
                    && self
                        .targets(field(record::offset::NEW_ADDR)?, 0)?
                        .contains(&shown.new),
                "{shown:?} is another record"
            );
            let expect = self.expectation(index, record)?;
            ensure!(shown.expect == hex(expect), "{shown:?} expects {expect:x?}");
            let lines = shown.expect_code.iter().map(String::as_str);
            same_instructions(expect, lines, &[])?;
        }
        Ok(())
    }

    /// What the old function must start with.
    fn expectation(&self, index: usize, record: &'data [u8]) -> Result<&'data [u8]> {
        let (control, bytes) = match (self.own("expect"), record.get(EXPECT_IN_RECORD..)) {
            (Some(all), _) => {
                let entry = all.get(index * EXPECT_BYTES..).context("no entry")?;
                (entry[0], &entry[1..])
            }
            (None, Some([control, bytes @ ..])) => (control >> 1, bytes),
            (None, _) => return Ok(&[]),
        };
        bytes
            .get(..control.into())
            .context("a length beyond the bytes")
    }

    /// The string that a relocation refers to.
    fn string(&self, entry: &Reloc) -> Result<&'data str> {
        let symbol = self.elf.syms.get(entry.r_sym).context("no such symbol")?;
        let header = &self.elf.section_headers[symbol.st_shndx];
        let at = symbol
            .st_value
            .wrapping_add_signed(entry.r_addend.unwrap_or(0));
        let text = bytes(self.file, header)?.get(usize::try_from(at)?..);
        let text = text.and_then(|text| text.split(|byte| *byte == 0).next());
        Ok(std::str::from_utf8(text.context("no string")?)?)
    }

    fn code(&self, page: &Inspection) -> Result<()> {
        let mut blocks = page.code.iter();
        for (index, name, header) in self.loaded() {
            if header.sh_flags & u64::from(SHF_EXECINSTR) == 0 {
                continue;
            }
            let code = bytes(self.file, header)?;
            let fields = relocations(&self.elf, index);
            let mut at = 0;
            while at < code.len() {
                let block = blocks.next().context("code is not shown")?;
                let size = block.bytes.len() / 2;
                let places = self.names(index, u64::try_from(at)?);
                ensure!(
                    block.section == name
                        && usize::try_from(block.offset) == Ok(at)
                        && places.contains(&block.name),
                    "{block:?} is not at {at:#x} of {name}, {places:?}"
                );
                let part = code.get(at..at + size).context("more code than there is")?;
                ensure!(block.bytes == hex(part), "{block:?} has other bytes");
                self.instructions(block, part, &fields)?;
                at += size;
            }
        }
        ensure!(blocks.next().is_none(), "more code than there is");
        Ok(())
    }

    /// Each instruction begins where it does, is the one it is, and names what it refers to.
    fn instructions(&self, block: &CodeBlock, code: &[u8], fields: &[Reloc]) -> Result<()> {
        let mut names = vec![Vec::new(); block.instructions.len()];
        let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
        for (line, names) in block.instructions.iter().zip(&mut names) {
            let one = decoder.decode();
            ensure!(line.offset == one.ip(), "{line:?} is at {:#x}", one.ip());
            for entry in fields {
                let end = block.offset + one.next_ip();
                let bias = match (block.offset + one.ip()..end).contains(&entry.r_offset) {
                    true if crate::listing::is_relative(entry) => end - entry.r_offset,
                    true => 0,
                    false => continue,
                };
                names.extend(self.targets(entry, i64::try_from(bias)?)?);
            }
        }
        let lines = block.instructions.iter().map(|line| line.text.as_str());
        same_instructions(code, lines, &names)
    }

    fn data(&self, page: &Inspection) -> Result<()> {
        let mut lines = page.data.iter();
        for (index, name, header) in self.loaded() {
            let own = name.starts_with(self.abi.prefix)
                || [section::MODINFO, section::BUILD_ID].contains(&name.as_str())
                || page.tables.iter().any(|table| table.name == name);
            if header.sh_flags & u64::from(SHF_EXECINSTR) != 0 || own {
                continue;
            }
            let held = bytes(self.file, header)?;
            let fields = relocations(&self.elf, index);
            let mut at = 0;
            while at < header.sh_size {
                let line = lines.next().context("data are not shown")?;
                let end = at + line.size;
                let part = usize::try_from(at)?..usize::try_from(end)?;
                let mut pointers = fields
                    .iter()
                    .filter(|one| (at..end).contains(&one.r_offset));
                ensure!(
                    line.section == name
                        && line.size != 0
                        && self.names(index, at).contains(&line.name)
                        && line.bytes == held.get(part).map(hex).unwrap_or_default(),
                    "{line:?} is not at {at:#x} of {name}"
                );
                for (offset, target) in &line.pointers {
                    let entry = pointers.next().context("a pointer too much")?;
                    ensure!(
                        entry.r_offset == at + offset
                            && (target.starts_with('"')
                                || self.targets(entry, 0)?.contains(target)),
                        "{line:?}: {target} is not {entry:?}"
                    );
                }
                ensure!(pointers.next().is_none(), "{line:?} lacks a pointer");
                at = end;
            }
        }
        ensure!(lines.next().is_none(), "more data than there are");
        Ok(())
    }

    fn tables(&self, page: &Inspection) -> Result<()> {
        for table in &page.tables {
            let items = u64::try_from(table.items.len())?;
            ensure!(table.entries == items, "{table:?}");
            let fields = relocations_of(&self.elf, &table.name);
            let mut unnamed = table.items.iter().filter(|item| {
                [&item.owner, &item.text]
                    .iter()
                    .any(|one| one.contains("no relocation"))
            });
            ensure!(unnamed.next().is_none(), "{table:?}");
            // The first field of an entry is the code that it is about, in every table but that
            // of the bug frames, whose addend holds a line too.
            let bytes = section_bytes(&self.elf, self.file, &table.name).context("no table")?;
            let entry_bytes = bytes.len() / table.items.len().max(1);
            if table.name.starts_with(".bug_frames") {
                continue;
            }
            for (index, item) in table.items.iter().enumerate() {
                let at = u64::try_from(index * entry_bytes)?;
                let entry = fields.iter().find(|one| one.r_offset == at);
                let targets = self.targets(entry.context("an entry without its place")?, 0)?;
                ensure!(targets.contains(&item.owner), "{item:?} is of {targets:?}");
            }
        }
        for hook in &page.hooks {
            let name = format!("{}hooks.{}", self.abi.prefix, hook.kind);
            let fields = relocations_of(&self.elf, &name);
            ensure!(fields.len() == hook.functions.len(), "{name}: {hook:?}");
            for (entry, function) in fields.iter().zip(&hook.functions) {
                let targets = self.targets(entry, 0)?;
                ensure!(
                    targets.contains(function),
                    "{name}: {hook:?}, not {targets:?}"
                );
            }
        }
        let words = self.own(section::WORDS).unwrap_or_default();
        ensure!(
            page.words.len() == words.len() / size_of::<record::WordRecord>(),
            "words {:?}",
            page.words
        );
        for (line, word) in page
            .words
            .iter()
            .zip(words.chunks(size_of::<record::WordRecord>()))
        {
            for (at, shown) in [(8, &line.address), (16, &line.expected), (24, &line.value)] {
                let value = format!("{:#x}", u64::from_le_bytes(word[at..at + 8].try_into()?));
                // What is relocated is shown by name.
                ensure!(*shown == value || value == "0x0", "{line:?}: not {value}");
            }
        }
        Ok(())
    }
}

fn sign(value: i64) -> char {
    if value < 0 { '-' } else { '+' }
}

/// Whether the lines are these instructions, by mnemonic, and hold one of the names each.
fn same_instructions<'line>(
    code: &[u8],
    lines: impl Iterator<Item = &'line str>,
    names: &[Vec<String>],
) -> Result<()> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut formatter = GasFormatter::new();
    for (index, line) in lines.enumerate() {
        ensure!(decoder.can_decode(), "{line}: no more code");
        let one = decoder.decode();
        let mut wanted = String::new();
        formatter.format(&one, &mut wanted);
        let word = |text: &str| {
            text.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        ensure!(word(line) == word(&wanted), "{line:?} is {wanted:?}");
        let names = names.get(index).map_or(&[][..], Vec::as_slice);
        ensure!(
            names.is_empty() || line.contains('"') || names.iter().any(|name| line.contains(name)),
            "{line:?} names none of {names:?}"
        );
    }
    ensure!(!decoder.can_decode(), "code that is not shown");
    Ok(())
}

//! Changes single fields of a payload file, as a transmission fault, a broken tool or an attacker
//! would.

use goblin::elf::Elf;
use sha1::{Digest as _, Sha1};

/// Offsets in `Elf64_Shdr`.
pub mod header {
    pub const NAME: usize = 0;
    pub const KIND: usize = 4;
    pub const FLAGS: usize = 8;
    pub const OFFSET: usize = 24;
    pub const SIZE: usize = 32;
    pub const LINK: usize = 40;
    pub const INFO: usize = 44;
    pub const ALIGNMENT: usize = 48;
}

/// Offsets in `Elf64_Sym`.
pub mod symbol {
    pub const NAME: usize = 0;
    pub const SECTION: usize = 6;
    pub const VALUE: usize = 8;
}

/// Offsets in `Elf64_Rela`.
pub mod rela {
    pub const OFFSET: usize = 0;
    pub const KIND: usize = 8;
    pub const SYMBOL: usize = 12;
    pub const ADDEND: usize = 16;
}

/// A payload that is being changed.
#[derive(Clone, Debug)]
pub struct Edit {
    pub bytes: Vec<u8>,
    headers: usize,
    names: Vec<String>,
    offsets: Vec<usize>,
    sizes: Vec<usize>,
    symbols: Vec<String>,
}

impl Edit {
    /// Takes an unbroken payload.
    pub fn new(bytes: &[u8]) -> Edit {
        let elf = Elf::parse(bytes).unwrap();
        let name = |at| elf.shdr_strtab.get_at(at).unwrap().to_owned();
        let number = |value: u64| usize::try_from(value).unwrap();
        Edit {
            bytes: bytes.to_vec(),
            headers: number(elf.header.e_shoff),
            names: elf
                .section_headers
                .iter()
                .map(|one| name(one.sh_name))
                .collect(),
            offsets: elf
                .section_headers
                .iter()
                .map(|one| number(one.sh_offset))
                .collect(),
            sizes: elf
                .section_headers
                .iter()
                .map(|one| number(one.sh_size))
                .collect(),
            symbols: elf
                .syms
                .iter()
                .map(|one| elf.strtab.get_at(one.st_name).unwrap().to_owned())
                .collect(),
        }
    }

    /// Index of the section whose name ends so.
    #[track_caller]
    pub fn section(&self, suffix: &str) -> usize {
        self.names
            .iter()
            .position(|name| name.ends_with(suffix) && !name.starts_with(".rela"))
            .unwrap_or_else(|| panic!("no section {suffix}: {:?}", self.names))
    }

    /// Index of the relocations of the section whose name ends so.
    #[track_caller]
    pub fn relocations_of(&self, suffix: &str) -> usize {
        self.names
            .iter()
            .position(|name| name.ends_with(suffix) && name.starts_with(".rela"))
            .unwrap()
    }

    /// Index of the symbol of this name.
    #[track_caller]
    pub fn symbol(&self, name: &str) -> usize {
        self.symbols.iter().position(|known| known == name).unwrap()
    }

    /// Overwrites bytes of the file.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Overwrites bytes of a section header.
    pub fn put_header(&mut self, section: usize, field: usize, bytes: &[u8]) {
        self.put(self.headers + section * 64 + field, bytes);
    }

    /// Overwrites bytes of a section's contents.
    pub fn put_content(&mut self, suffix: &str, at: usize, bytes: &[u8]) {
        let start = self.offsets[self.section(suffix)];
        self.put(start + at, bytes);
    }

    /// Bytes of a section's contents.
    pub fn content(&self, suffix: &str) -> &[u8] {
        let section = self.section(suffix);
        let start = self.offsets[section];
        &self.bytes[start..start + self.sizes[section]]
    }

    /// Overwrites bytes of a symbol.
    pub fn put_symbol(&mut self, symbol: usize, field: usize, bytes: &[u8]) {
        let start = self.offsets[self.section(".symtab")];
        self.put(start + symbol * 24 + field, bytes);
    }

    /// Overwrites bytes of a relocation of the section whose name ends so.
    pub fn put_relocation(&mut self, suffix: &str, index: usize, field: usize, bytes: &[u8]) {
        let start = self.offsets[self.relocations_of(suffix)];
        self.put(start + index * 24 + field, bytes);
    }

    /// Renames a symbol or section by overwriting its name in place with one of equal length.
    pub fn rename(&mut self, table: &str, old: &str, new: &str) {
        assert_eq!(old.len(), new.len());
        let start = self.offsets[self.section(table)];
        let size = self.sizes[self.section(table)];
        let text = [old.as_bytes(), b"\0"].concat();
        let at = self.bytes[start..start + size]
            .windows(text.len())
            .position(|window| window == text)
            .unwrap();
        self.put(start + at, new.as_bytes());
    }

    /// Makes the build-id that of the changed content, so that only the change itself can be
    /// noticed.
    pub fn stamp(mut self) -> Vec<u8> {
        let start = self.offsets[self.section(".note.gnu.build-id")] + 16;
        if let Some(id) = self.bytes.get_mut(start..start + 20) {
            id.fill(0);
            let hash = Sha1::digest(&self.bytes);
            self.bytes[start..start + 20].copy_from_slice(&hash);
        }
        self.bytes
    }
}

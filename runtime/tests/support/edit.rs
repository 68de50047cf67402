//! Files of payloads with fields that are changed: what no honest writer makes.

use std::ops::Range;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::Maker;

const HEADER_BYTES: usize = 64;
const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;
const RELOCATION_BYTES: usize = 24;

/// A field of a structure, by its bytes.
pub(crate) type Field = Range<usize>;

/// Of the file's header.
pub(crate) mod header {
    use super::Field;
    pub(crate) const SECTIONS_AT: Field = 40..48;
    pub(crate) const SECTIONS: Field = 60..62;
    pub(crate) const NAMES: Field = 62..64;
}

/// Of a section's header.
pub(crate) mod section {
    use super::Field;
    pub(crate) const KIND: Field = 4..8;
    pub(crate) const FLAGS: Field = 8..16;
    pub(crate) const ADDRESS: Field = 16..24;
    pub(crate) const OFFSET: Field = 24..32;
    pub(crate) const SIZE: Field = 32..40;
    pub(crate) const LINK: Field = 40..44;
    pub(crate) const INFO: Field = 44..48;
    pub(crate) const ALIGNMENT: Field = 48..56;
}

/// Of a symbol.
pub(crate) mod symbol {
    use super::Field;
    pub(crate) const NAME: Field = 0..4;
    pub(crate) const INFO: Field = 4..5;
    pub(crate) const SECTION: Field = 6..8;
    pub(crate) const VALUE: Field = 8..16;
    pub(crate) const SIZE: Field = 16..24;
}

/// Of a relocation.
pub(crate) mod relocation {
    use super::Field;
    pub(crate) const OFFSET: Field = 0..8;
    pub(crate) const KIND: Field = 8..12;
    pub(crate) const SYMBOL: Field = 12..16;
}

/// A file in the making.
#[derive(Clone)]
pub(crate) struct Edited(pub Vec<u8>);

impl Edited {
    pub(crate) fn of(maker: &Maker) -> Edited {
        Edited(maker.write())
    }

    fn number(&self, at: usize, bytes: usize) -> usize {
        let field = self.0[at..at + bytes].iter().rev();
        field.fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    fn put(&mut self, start: usize, field: &Field, value: u64) -> &mut Edited {
        let bytes = value.to_le_bytes();
        self.0[start + field.start..start + field.end].copy_from_slice(&bytes[..field.len()]);
        self
    }

    /// How many section headers there are.
    pub(crate) fn sections(&self) -> usize {
        self.number(header::SECTIONS.start, 2)
    }

    /// Index of the section with the names of sections.
    pub(crate) fn names(&self) -> usize {
        self.number(header::NAMES.start, 2)
    }

    /// Index of the first section of this name.
    #[track_caller]
    pub(crate) fn index(&self, name: &str) -> usize {
        let file = object::File::parse(self.0.as_slice()).unwrap();
        file.section_by_name(name).unwrap().index().0
    }

    fn section_at(&self, index: usize) -> usize {
        self.number(header::SECTIONS_AT.start, 8) + index * SECTION_BYTES
    }

    /// Where the contents of a section are.
    #[track_caller]
    pub(crate) fn contents(&self, name: &str) -> Range<usize> {
        let at = self.section_at(self.index(name));
        let start = self.number(at + section::OFFSET.start, 8);
        start..start + self.number(at + section::SIZE.start, 8)
    }

    pub(crate) fn in_header(&mut self, field: &Field, value: u64) -> &mut Edited {
        self.put(0, field, value)
    }

    pub(crate) fn in_section_number(
        &mut self,
        index: usize,
        field: &Field,
        value: u64,
    ) -> &mut Edited {
        self.put(self.section_at(index), field, value)
    }

    #[track_caller]
    pub(crate) fn in_section(&mut self, name: &str, field: &Field, value: u64) -> &mut Edited {
        self.in_section_number(self.index(name), field, value)
    }

    #[track_caller]
    pub(crate) fn in_symbol(&mut self, name: &str, field: &Field, value: u64) -> &mut Edited {
        let index = {
            let file = object::File::parse(self.0.as_slice()).unwrap();
            let mut symbols = file.symbols();
            let found = symbols.find(|symbol| symbol.name() == Ok(name));
            found.unwrap().index().0
        };
        let table = self.contents(".symtab").start;
        self.put(table + index * SYMBOL_BYTES, field, value)
    }

    /// In the relocation of this number of a table.
    #[track_caller]
    pub(crate) fn in_relocation(
        &mut self,
        table: &str,
        number: usize,
        field: &Field,
        value: u64,
    ) -> &mut Edited {
        let start = self.contents(table).start;
        self.put(start + number * RELOCATION_BYTES, field, value)
    }

    /// Moves the section headers to right behind the file's header.
    pub(crate) fn with_headers_first(&self) -> Edited {
        let count = self.sections();
        let table = self.section_at(0)..self.section_at(count);
        let mut moved = Edited(self.0.clone());
        let headers = self.0[table.clone()].to_vec();
        moved.0.splice(HEADER_BYTES..HEADER_BYTES, headers);
        moved.in_header(&header::SECTIONS_AT, HEADER_BYTES as u64);
        for index in 1..count {
            let offset = self.number(self.section_at(index) + section::OFFSET.start, 8);
            let offset = offset + table.len();
            moved.in_section_number(index, &section::OFFSET, offset as u64);
        }
        moved
    }
}

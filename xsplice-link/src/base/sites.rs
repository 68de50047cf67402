//! Places of the base that its boot code rewrites: alternatives and alternative call sites.
//!
//! What runs differs from what was linked there, so no expectation may reach into them. The
//! tables are found as sections of their own, or, where the linker script merged them, between
//! the symbols that the image itself walks them by.

use std::ops::Range;

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::I32;
use zerocopy::{Immutable, KnownLayout, Unaligned};

use super::{Base, QualifiedName};
use crate::error::LinkError;

/// One place that is rewritten at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchSite {
    /// Addresses of the original instruction.
    pub range: Range<u64>,
    /// Name of the table that says so.
    pub table: &'static str,
}

/// How one table is found and what its entries look like.
struct Table {
    name: &'static str,
    /// Symbols that the image walks the table by.
    bounds: &'static [(&'static str, &'static str)],
    entry_bytes: u64,
    kind: Entry,
}

enum Entry {
    /// [`Alternative`].
    Alternative,
    /// A 4-byte offset from itself to an indirect call through memory.
    CallSite,
}

/// An entry of `.altinstructions` (Xen 4.17 `struct alt_instr`).
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
struct Alternative {
    /// From this field to the original instruction.
    original: I32,
    replacement: I32,
    feature: [u8; 2],
    original_bytes: u8,
    replacement_bytes: u8,
    padding_bytes: u8,
    flags: u8,
}

const ENTRIES: xsplice_abi::profile::EntrySizes = xsplice_abi::profile::LIVEPATCH.entries;
const _: () = assert!(size_of::<Alternative>() as u64 == ENTRIES.alternative);

/// `call *disp32(%rip)`: ff 15 and a 4-byte displacement.
const INDIRECT_CALL_BYTES: u64 = 6;

const TABLES: [Table; 2] = [
    Table {
        name: xsplice_abi::section::ALTINSTRUCTIONS,
        bounds: &[("__alt_instructions", "__alt_instructions_end")],
        entry_bytes: ENTRIES.alternative,
        kind: Entry::Alternative,
    },
    Table {
        name: xsplice_abi::section::ALT_CALL_SITES,
        bounds: &[
            ("__alt_call_sites_start", "__alt_call_sites_end"),
            ("__alt_call_sites", "__alt_call_sites_end"),
        ],
        entry_bytes: ENTRIES.alternative_call,
        kind: Entry::CallSite,
    },
];

/// Reads every table of `base`.
pub(super) fn boot_patched(base: &Base<'_>) -> Result<Vec<PatchSite>, LinkError> {
    let mut sites = Vec::new();
    for table in &TABLES {
        let Some(range) = table.find(base) else {
            continue;
        };
        let size_bytes = range.end - range.start;
        let bytes = base.bytes_at(range.start, size_bytes);
        let (Some(bytes), 0) = (bytes, size_bytes % table.entry_bytes) else {
            return Err(LinkError::BadTable {
                path: base.path().to_owned(),
                table: table.name,
                size_bytes,
                entry_bytes: table.entry_bytes,
            });
        };
        match table.kind {
            Entry::Alternative => read_alternatives(bytes, range.start, &mut sites),
            Entry::CallSite => read_call_sites(bytes, range.start, &mut sites),
        }
    }
    sites.sort_by_key(|site| (site.range.start, site.range.end));
    Ok(sites)
}

impl Table {
    fn find(&self, base: &Base<'_>) -> Option<Range<u64>> {
        if let Some(section) = base
            .sections()
            .iter()
            .find(|section| section.name == self.name)
        {
            return Some(section.range.clone());
        }
        let address = |name| {
            let name = QualifiedName { file: None, name };
            base.lookup(name).found().map(|symbol| symbol.address)
        };
        self.bounds.iter().find_map(|&(start, end)| {
            let range = address(start)?..address(end)?;
            (range.start < range.end).then_some(range)
        })
    }
}

fn read_alternatives(bytes: &[u8], start: u64, sites: &mut Vec<PatchSite>) {
    let mut field = start;
    // The caller checked divisibility, so nothing is left over.
    let (entries, _) = <[Alternative]>::ref_from_prefix(bytes).unwrap_or((&[], bytes));
    for entry in entries {
        let address = field.wrapping_add_signed(i64::from(entry.original.get()));
        let length = u64::from(entry.original_bytes) + u64::from(entry.padding_bytes);
        sites.push(PatchSite {
            range: address..address.saturating_add(length),
            table: xsplice_abi::section::ALTINSTRUCTIONS,
        });
        field = field.wrapping_add(ENTRIES.alternative);
    }
}

fn read_call_sites(bytes: &[u8], start: u64, sites: &mut Vec<PatchSite>) {
    let mut field = start;
    let (entries, _) = <[I32]>::ref_from_prefix(bytes).unwrap_or((&[], bytes));
    for entry in entries {
        let address = field.wrapping_add_signed(i64::from(entry.get()));
        sites.push(PatchSite {
            range: address..address.saturating_add(INDIRECT_CALL_BYTES),
            table: xsplice_abi::section::ALT_CALL_SITES,
        });
        field = field.wrapping_add(ENTRIES.alternative_call);
    }
}

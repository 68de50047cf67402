//! Places of the base that its boot code rewrites: alternatives and alternative call sites.
//!
//! The running code differs from the linked code there, so no expectation may cover them. The
//! tables are found as sections of their own, or, where the linker script merged them, between the
//! symbols by which the image walks them.

use std::ops::Range;

use xsplice_abi::machine::OF_RUNTIME;
use xsplice_abi::section::{ALT_CALL_SITES, ALTINSTRUCTIONS};
use xsplice_abi::tables::{Alternative, CallSite};
use zerocopy::FromBytes as _;

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

/// How one table is found.
struct Table {
    name: &'static str,
    /// Symbols that the image walks the table by.
    bounds: &'static [(&'static str, &'static str)],
    kind: Kind,
}

/// Kind of entries. Their sizes are those of the image's own code, not those of a payload's
/// profile.
#[derive(Clone, Copy)]
enum Kind {
    Alternative,
    CallSite,
}

impl Kind {
    const fn entry_bytes(self) -> u64 {
        match self {
            Kind::Alternative => Alternative::BYTES,
            Kind::CallSite => CallSite::BYTES,
        }
    }
}

const TABLES: [Table; 2] = [
    Table {
        name: ALTINSTRUCTIONS,
        bounds: &[("__alt_instructions", "__alt_instructions_end")],
        kind: Kind::Alternative,
    },
    Table {
        name: ALT_CALL_SITES,
        bounds: &[
            ("__alt_call_sites_start", "__alt_call_sites_end"),
            ("__alt_call_sites", "__alt_call_sites_end"),
        ],
        kind: Kind::CallSite,
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
        let (Some(bytes), 0) = (bytes, size_bytes % table.kind.entry_bytes()) else {
            return Err(LinkError::BadTable {
                path: base.path().to_owned(),
                table: table.name,
                size_bytes,
                entry_bytes: table.kind.entry_bytes(),
            });
        };
        match table.kind {
            Kind::Alternative => read_alternatives(bytes, range.start, &mut sites),
            Kind::CallSite => read_call_sites(bytes, range.start, &mut sites),
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
        sites.push(PatchSite {
            range: address..address.saturating_add(entry.place_bytes().into()),
            table: ALTINSTRUCTIONS,
        });
        field = field.wrapping_add(Alternative::BYTES);
    }
}

fn read_call_sites(bytes: &[u8], start: u64, sites: &mut Vec<PatchSite>) {
    let mut field = start;
    let call_bytes = OF_RUNTIME.pointer_call.bytes() as u64;
    let (entries, _) = <[CallSite]>::ref_from_prefix(bytes).unwrap_or((&[], bytes));
    for entry in entries {
        let address = field.wrapping_add_signed(i64::from(entry.call.get()));
        sites.push(PatchSite {
            range: address..address.saturating_add(call_bytes),
            table: ALT_CALL_SITES,
        });
        field = field.wrapping_add(CallSite::BYTES);
    }
}

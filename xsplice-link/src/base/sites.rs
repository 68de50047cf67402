//! Places of the base that its boot code rewrites: alternatives and alternative call sites.
//!
//! The running code differs from the linked code there, so no expectation may cover them. The
//! tables are found as sections of their own, or, where the linker script merged them, between the
//! symbols by which the image walks them.

use std::ops::Range;

use xsplice_abi::machine::Machine;
use xsplice_abi::profile::LIVEPATCH;
use xsplice_abi::tables::{REWRITING, Rewriting};

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

/// Reads every table of `base`.
pub(super) fn boot_patched(base: &Base<'_>) -> Result<Vec<PatchSite>, LinkError> {
    let mut sites = Vec::new();
    for rewriting in &REWRITING {
        let Some(range) = find(rewriting, base) else {
            continue;
        };
        // An image is no payload. Of those that rewrite themselves by such tables, each is a
        // Xen, whose loader reads payloads by the structures that its boot reads the image by.
        let entry_bytes = rewriting
            .table
            .entry_bytes(&LIVEPATCH.entries(base.machine()));
        let size_bytes = range.end - range.start;
        let bytes = base.bytes_at(range.start, size_bytes);
        let (Some(bytes), 0) = (bytes, size_bytes % entry_bytes) else {
            return Err(LinkError::BadTable {
                path: base.path().to_owned(),
                table: rewriting.name,
                size_bytes,
                entry_bytes,
            });
        };
        let entries = bytes.chunks_exact(usize::try_from(entry_bytes).unwrap_or(usize::MAX));
        let mut field = range.start;
        for entry in entries {
            sites.extend(site(base.machine(), rewriting, entry, field));
            field = field.wrapping_add(entry_bytes);
        }
    }
    sites.sort_by_key(|site| (site.range.start, site.range.end));
    Ok(sites)
}

/// What the entry that stands at `address` lets the boot rewrite.
fn site(machine: &Machine, rewriting: &Rewriting, entry: &[u8], address: u64) -> Option<PatchSite> {
    let bytes = rewriting.table.rewritten_bytes(machine, entry)?;
    let owner = rewriting.table.owner(machine.entry_form, entry)?;
    let start = address.wrapping_add_signed(owner.into());
    Some(PatchSite {
        range: start..start.saturating_add(bytes),
        table: rewriting.name,
    })
}

fn find(rewriting: &Rewriting, base: &Base<'_>) -> Option<Range<u64>> {
    if let Some(section) = base
        .sections()
        .iter()
        .find(|section| section.name == rewriting.name)
    {
        return Some(section.range.clone());
    }
    let address = |name| {
        let name = QualifiedName { file: None, name };
        base.lookup(name).found().map(|symbol| symbol.address)
    };
    rewriting.bounds.iter().find_map(|&(start, end)| {
        let range = address(start)?..address(end)?;
        (range.start < range.end).then_some(range)
    })
}

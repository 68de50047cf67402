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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use xsplice_test_objects::{compile, run};

    use super::super::Base;

    /// A base of code with tables about places in it. In `sections` they are called as the boot
    /// knows them, else they are between symbols of the same meaning.
    fn image(alternatives: (&str, &str, &str), calls: (&str, &str, &str)) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("room for temporary files");
        let (section, start, end) = alternatives;
        let (call_section, call_start, call_end) = calls;
        let source = format!(
            ".text\n.globl f\nf: ret\n\
             .globl second\nsecond: call *target(%rip)\nnop\n\
             .globl third\nthird: .nops 5, 5\n4: ret\n\
             .section .replacement, \"ax\"\n3: lfence\n5:\n\
             .section {section}, \"a\"\n{start}\n\
             .long third-., 3b-.\n.word 17\n.byte 4b-third, 5b-3b, 0, 0\n\
             .long f-., 3b-.\n.word 18\n.byte 1, 1, 0, 0\n{end}\n\
             .section {call_section}, \"a\"\n{call_start}\n.long second-.\n{call_end}\n\
             .data\ntarget: .quad f\n"
        );
        fs::write(folder.path().join("a.S"), source).expect("it can be written");
        let _ = compile(folder.path(), "gcc", &[], "a.S");
        let mut ld = Command::new("ld");
        ld.args(["-e", "0", "--build-id=sha1", "a.o", "-o", "image"]);
        run(ld.current_dir(folder.path()));
        fs::read(folder.path().join("image")).expect("the linker wrote it")
    }

    /// The places, as the name of the function, the distance from it, size and table.
    fn places(image: &[u8]) -> Vec<(String, u64, u64, &'static str)> {
        let base = Base::parse("image", image).expect("it is an image");
        let sites = base.boot_patched().iter();
        let told = sites.map(|site| {
            let (symbol, distance) = base.describe(site.range.start).expect("it is code");
            let bytes = site.range.end - site.range.start;
            (symbol.name.to_owned(), distance, bytes, site.table)
        });
        told.collect()
    }

    #[test]
    fn tables_are_read_as_sections_and_between_symbols() {
        let wanted = [
            ("f".to_owned(), 0, 1, ".altinstructions"),
            ("second".to_owned(), 0, 6, ".alt_call_sites"),
            ("third".to_owned(), 0, 5, ".altinstructions"),
        ];
        let as_sections = image((".altinstructions", "", ""), (".alt_call_sites", "", ""));
        assert_eq!(places(&as_sections), wanted);
        let between = (
            ".rodata",
            ".globl __alt_instructions\n__alt_instructions:",
            ".globl __alt_instructions_end\n__alt_instructions_end:",
        );
        for start in ["__alt_call_sites_start", "__alt_call_sites"] {
            let start = format!(".globl {start}\n{start}:");
            let end = ".globl __alt_call_sites_end\n__alt_call_sites_end:";
            let merged = image(between, (".rodata", &start, end));
            assert_eq!(places(&merged), wanted, "{start}");
        }
        let nameless = image((".rodata", "", ""), (".rodata", "", ""));
        assert_eq!(places(&nameless), []);
    }

    #[test]
    fn a_place_is_found_by_every_range_that_it_reaches_into() {
        let image = image((".altinstructions", "", ""), (".alt_call_sites", "", ""));
        let base = Base::parse("image", &image).expect("it is an image");
        let [first, second, third] = base.boot_patched() else {
            panic!("three places");
        };
        let found = |range| base.first_patched_in(&range).map(|site| site.range.start);
        for site in [first, second, third] {
            let (start, end) = (site.range.start, site.range.end);
            assert_eq!(found(start..end), Some(start));
            assert_eq!(found(start..start + 1), Some(start));
            assert_eq!(found(end - 1..end), Some(start));
            assert_eq!(found(end - 1..end + 40), Some(start));
        }
        let all = first.range.start..third.range.end;
        assert_eq!(found(all), Some(first.range.start));
        let (start, end) = (second.range.start, second.range.end);
        assert_eq!(start, first.range.end, "they touch");
        assert_eq!(found(end..end + 1), None, "between two");
        assert_eq!(found(third.range.end..third.range.end + 9), None);
        assert_eq!(found(first.range.start - 9..first.range.start), None);
    }
}

//! The records of the payload, with their strings and expectations.

use std::collections::HashMap;

use xsplice_abi::limits::EXPECT_BYTES_MAX;
use xsplice_abi::machine::OF_RUNTIME;
use xsplice_abi::profile::{Expectations, Tail};
use xsplice_abi::record::{
    ExpectEntry, LivepatchExpect, LivepatchRecord, RecordHead, XspliceRecord, XspliceV1Record,
    offset,
};
use xsplice_abi::{Profile, section};
use xsplice_diff::OriginalItem;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::base::{Base, BaseSymbol};
use crate::layout::{
    Content, Kind, Layout, Memory, OutSection, OutSymbol, Place, Relocation, Section, Symbol,
    Visibility,
};
use crate::options::StacksOn;

/// Alignment of the record section, in bytes.
const RECORD_ALIGNMENT: u64 = 8;

/// A record before it is written.
#[derive(Clone, Debug)]
pub struct RecordPlan {
    /// The function's name as the base knows it.
    pub name: String,
    /// The object that holds the new function.
    pub object: String,
    /// The new function, and what to add to its symbol.
    pub new: (OutSymbol, i64),
    /// In bytes.
    pub new_size: u32,
    /// Address in the base.
    pub old_addr: u64,
    /// The base's symbol, when the image is relocated at boot and only the loader knows the
    /// address.
    pub old: Option<OutSymbol>,
    /// In bytes.
    pub old_size: u32,
    /// What the old function must start with; empty for no expectation.
    pub expect: Vec<u8>,
}

/// The expectation for the function `old` of the base: its first bytes, up to the first place that
/// the boot code rewrites. Empty for a function that starts with `endbr64`, which the boot code may
/// overwrite, and for one that a payload below replaces or may replace.
#[must_use]
pub fn expectation(
    base: &Base<'_>,
    old: &BaseSymbol<'_>,
    original: &OriginalItem<'_>,
    stacks_on: &StacksOn,
) -> Vec<u8> {
    let is_replaced_below = match stacks_on {
        StacksOn::Base => false,
        StacksOn::Id(_) => true,
        StacksOn::Payload(below) => below
            .replaced
            .iter()
            .any(|range| range.contains(&old.address)),
    };
    let bytes = base.bytes_at(old.address, old.size_bytes).unwrap_or(&[]);
    if is_replaced_below || OF_RUNTIME.jump_offset(bytes) != 0 {
        return Vec::new();
    }
    let mut length = bytes.len().min(EXPECT_BYTES_MAX);
    let mut stop_at = |distance: u64| {
        length = length.min(usize::try_from(distance).unwrap_or(usize::MAX));
    };
    let range = old.address..old.address.saturating_add(old.size_bytes);
    if let Some(site) = base.first_patched_in(&range) {
        stop_at(site.range.start.saturating_sub(old.address));
    }
    if let Some(&(distance, _)) = original.patched_at_boot.iter().min() {
        stop_at(distance);
    }
    bytes[..length].to_vec()
}

/// Appends the record section, the strings and, where the profile keeps them apart, the
/// expectations.
pub fn append(layout: &mut Layout, abi: &'static Profile, plans: &[RecordPlan]) {
    if plans.is_empty() {
        return;
    }
    let (strings, offsets) = strings(plans);
    let strings = layout.add_section(Section {
        name: format!("{}{}", abi.prefix, section::STRINGS).into(),
        memory: Memory::ReadOnly,
        content: Content::Bytes(strings),
        alignment: 1,
        entry_bytes: 0,
        relocations: Vec::new(),
    });
    let strings_symbol = layout.add_symbol(Symbol {
        name: String::new(),
        kind: Kind::Section,
        visibility: Visibility::Private,
        size_bytes: 0,
        place: Place::Section(strings, 0),
    });
    let mut bytes = Vec::with_capacity(plans.len() * abi.record_bytes);
    let mut relocations = Vec::with_capacity(plans.len() * 2);
    for (plan, &name_offset) in plans.iter().zip(&offsets) {
        let start = bytes.len() as u64;
        relocations.push(Relocation {
            offset: start + offset::NAME as u64,
            kind: OF_RUNTIME.word.number,
            symbol: strings_symbol,
            addend: name_offset,
        });
        relocations.push(Relocation {
            offset: start + offset::NEW_ADDR as u64,
            kind: OF_RUNTIME.word.number,
            symbol: plan.new.0,
            addend: plan.new.1,
        });
        if let Some(symbol) = plan.old {
            relocations.push(Relocation {
                offset: start + offset::OLD_ADDR as u64,
                kind: OF_RUNTIME.word.number,
                symbol,
                addend: 0,
            });
        }
        bytes.extend_from_slice(&encode(plan, abi));
    }
    layout.add_section(Section {
        name: format!("{}{}", abi.prefix, section::FUNCS).into(),
        // The records are writable because the patcher writes to the tail: always for 64-byte
        // records, and up to Xen 4.17.2 for those of 104 bytes. A payload without another writable
        // section may be applied again all the same.
        memory: Memory::Writable,
        content: Content::Bytes(bytes),
        alignment: RECORD_ALIGNMENT,
        entry_bytes: abi.record_bytes as u64,
        relocations,
    });
    if abi.expectations == Expectations::OwnSection {
        append_expectations(layout, abi, plans);
    }
}

fn append_expectations(
    layout: &mut Layout,
    abi: &'static Profile,
    plans: &[RecordPlan],
) -> OutSection {
    let mut bytes = Vec::with_capacity(plans.len() * size_of::<ExpectEntry>());
    for plan in plans {
        let mut entry = ExpectEntry::new_zeroed();
        entry.length = u8::try_from(plan.expect.len()).expect("at most 31 bytes are expected");
        entry.data[..plan.expect.len()].copy_from_slice(&plan.expect);
        bytes.extend_from_slice(entry.as_bytes());
    }
    layout.add_section(Section {
        name: format!("{}{}", abi.prefix, section::EXPECT).into(),
        memory: Memory::ReadOnly,
        content: Content::Bytes(bytes),
        alignment: 1,
        entry_bytes: size_of::<ExpectEntry>() as u64,
        relocations: Vec::new(),
    })
}

/// NUL-terminated names, each once, and the offset of each record's name.
fn strings(plans: &[RecordPlan]) -> (Vec<u8>, Vec<i64>) {
    let mut bytes = Vec::new();
    let mut known: HashMap<&str, i64> = HashMap::new();
    let offsets = plans
        .iter()
        .map(|plan| {
            *known.entry(&plan.name).or_insert_with(|| {
                let start = i64::try_from(bytes.len()).expect("a slice has at most 2^63 bytes");
                bytes.extend_from_slice(plan.name.as_bytes());
                bytes.push(0);
                start
            })
        })
        .collect();
    (bytes, offsets)
}

/// One record of the profile, relocated fields zero.
fn encode(plan: &RecordPlan, abi: &Profile) -> Vec<u8> {
    let head = RecordHead {
        name: U64::ZERO,
        new_addr: U64::ZERO,
        old_addr: match plan.old {
            Some(_) => U64::ZERO,
            None => U64::new(plan.old_addr),
        },
        new_size: U32::new(plan.new_size),
        old_size: U32::new(plan.old_size),
    };
    match abi.tail {
        Tail::Zero => {
            let mut record = XspliceRecord::new_zeroed();
            record.head = head;
            record.as_bytes().to_vec()
        }
        Tail::Version(version) => {
            let mut record = XspliceV1Record::new_zeroed();
            record.head = head;
            record.version = version;
            record.as_bytes().to_vec()
        }
        Tail::VersionAndExpect(version) => {
            let mut record = LivepatchRecord::new_zeroed();
            record.head = head;
            record.version = version;
            if !plan.expect.is_empty() {
                record.expect = LivepatchExpect::bytes(&plan.expect)
                    .expect("an expectation has at most 31 bytes");
            }
            record.as_bytes().to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RecordPlan, encode, strings};
    use crate::layout::OutSymbol;
    use xsplice_abi::profile::{LIVEPATCH, XSPLICE, XSPLICE_V1};

    fn plan(name: &str, expect: &[u8]) -> RecordPlan {
        RecordPlan {
            name: name.to_owned(),
            object: "x.o".to_owned(),
            new: (OutSymbol(0), 0),
            new_size: 0x11,
            old_addr: 0xffff_82d0_4020_0000,
            old: None,
            old_size: 0x22,
            expect: expect.to_vec(),
        }
    }

    #[test]
    fn each_profile_writes_its_own_tail() {
        let plan = plan("f", &[1, 2, 3]);
        let xsplice = encode(&plan, &XSPLICE);
        assert_eq!((xsplice.len(), &xsplice[32..]), (64, &[0; 32][..]));
        let v1 = encode(&plan, &XSPLICE_V1);
        assert_eq!((v1.len(), v1[32], &v1[33..]), (64, 1, &[0; 31][..]));
        let livepatch = encode(&plan, &LIVEPATCH);
        assert_eq!((livepatch.len(), livepatch[32]), (104, 2));
        assert_eq!(livepatch[72..76], [0b111, 1, 2, 3]);
        for record in [xsplice, v1, livepatch] {
            assert_eq!(record[..16], [0; 16]);
            assert_eq!(record[16..24], 0xffff_82d0_4020_0000_u64.to_le_bytes());
            assert_eq!(record[24..32], [0x11, 0, 0, 0, 0x22, 0, 0, 0]);
        }
    }

    #[test]
    fn an_unused_expectation_is_all_zero() {
        let record = encode(&plan("f", &[]), &LIVEPATCH);
        assert_eq!(record[72..], [0; 32]);
    }

    #[test]
    fn equal_names_share_a_string() {
        let (bytes, offsets) = strings(&[plan("f", &[]), plan("g", &[]), plan("f", &[])]);
        assert_eq!(bytes, b"f\0g\0");
        assert_eq!(offsets, [0, 2, 0]);
    }
}

//! Rules of the records at their bounds, and where a refusal says that one is broken.

use crate::support::edit::{Edited, relocation};
use crate::support::uploads::{changed, file_taken, refused, taken};
use crate::support::{A, DATA, Extra, Maker, Record, TEXT, TEXT_BYTES, Target, base_text};
use xsplice_abi::Errno;
use xsplice_abi::limits::EXPECT_BYTES_MAX;
use xsplice_abi::profile::LIVEPATCH;

/// A type of relocation that leaves the field as it is.
const NO_RELOCATION: u64 = 0;

fn with_record(change: impl FnOnce(&mut Record)) -> Maker {
    changed(|maker| change(&mut maker.records[0]))
}

/// Expectations of so many bytes, each the first of `f0`.
fn expecting(lengths: &[usize]) -> Maker {
    let mut entries = Vec::new();
    for length in lengths {
        let mut entry = vec![u8::try_from(*length).unwrap()];
        entry.extend(&base_text()[..*length]);
        entry.resize(32, 0);
        entries.extend(entry);
    }
    changed(|maker| {
        maker
            .sections
            .push(Extra::new(".xsplice.expect", A, &entries));
    })
}

#[test]
fn the_old_function_lies_in_the_bases_text_from_its_first_byte_to_its_last() {
    let at = |address: u64| with_record(|record| record.old = Target::Number(address));
    taken(&at(TEXT));
    taken(&at(TEXT + TEXT_BYTES - 32));
    for address in [TEXT - 1, TEXT + TEXT_BYTES - 31, u64::MAX - 3] {
        let says = "does not lie in the base's code";
        refused(&at(address).write(), Errno::EINVAL, says);
    }
}

#[test]
fn an_old_function_has_room_for_a_jump_behind_the_mark_of_its_entry() {
    let of_size = |name: &'static str, bytes: u32| {
        with_record(|record| {
            record.old = Target::Undefined(name);
            record.old_size = bytes;
        })
    };
    // The second one starts with endbr64.
    for (name, needed) in [("f0", 5), ("f3", 9)] {
        taken(&of_size(name, needed));
        let says = format!("has {} bytes and the jump needs {needed}", needed - 1);
        refused(&of_size(name, needed - 1).write(), Errno::EINVAL, &says);
    }
}

#[test]
fn nops_fill_the_old_function_and_no_more_than_can_be_undone() {
    let nops = |count: usize, old: usize| {
        let mut maker = Maker::of(&LIVEPATCH, 1);
        maker.records[0].new = Target::Number(0);
        maker.records[0].new_size = u32::try_from(count).unwrap();
        maker.records[0].old_size = u32::try_from(old).unwrap();
        maker
    };
    for (count, old) in [
        (1, 1),
        (EXPECT_BYTES_MAX, 32),
        (EXPECT_BYTES_MAX, EXPECT_BYTES_MAX),
    ] {
        taken(&nops(count, old));
    }
    let more = nops(EXPECT_BYTES_MAX, EXPECT_BYTES_MAX - 1).write();
    refused(&more, Errno::EINVAL, "more NOPs than the old function");
}

#[test]
fn there_is_one_expectation_for_each_record_and_none_is_longer_than_its_function() {
    let of_size = |length: usize, old: u32| {
        let mut maker = expecting(&[length]);
        maker.records[0].old_size = old;
        maker
    };
    taken(&of_size(8, 8));
    let says = "longer than the old function";
    refused(&of_size(9, 8).write(), Errno::ERANGE, says);
    let says = "not one expectation for each record";
    refused(&expecting(&[1, 1]).write(), Errno::EINVAL, says);
}

/// The loader of Xen reads a name to look it up, and not else.
#[test]
fn a_record_has_a_name_where_one_is_needed() {
    let nameless = |maker: &Maker| {
        let mut file = Edited::of(maker);
        let table = format!(".rela{}funcs", maker.profile.prefix);
        file.in_relocation(&table, 0, &relocation::KIND, NO_RELOCATION);
        file.in_relocation(&table, 0, &relocation::OFFSET, 0);
        file.0
    };
    let says = "name is zero";
    refused(&nameless(&Maker::new(1)), Errno::EINVAL, says);
    let mut of_xen = Maker::of(&LIVEPATCH, 1);
    file_taken(&nameless(&of_xen));
    of_xen.records[0].old = Target::Number(0);
    taken(&of_xen);
    refused(&nameless(&of_xen), Errno::EINVAL, says);
}

#[test]
fn a_refusal_names_the_entry_by_its_place() {
    let second = |change: fn(&mut Record)| {
        changed(|maker| {
            let mut record = Record::replacing("f1");
            change(&mut record);
            maker.records.push(record);
        })
    };
    let zero = second(|record| record.old_size = 0).write();
    refused(
        &zero,
        Errno::EINVAL,
        ".xsplice.funcs+0x40: old_size is zero",
    );
    let denied = second(|record| record.old = Target::Undefined("idle_loop")).write();
    refused(
        &denied,
        Errno::EINVAL,
        ".xsplice.funcs+0x40: the function is on the deny list",
    );

    let mut odd = expecting(&[1, 1]);
    odd.records.push(Record::replacing("f1"));
    let entries = &mut odd.sections.last_mut().unwrap().data;
    entries[63] = 1;
    let says = ".xsplice.expect+0x20: reserved bits or bytes";
    refused(&odd.write(), Errno::EINVAL, says);

    let word = Maker::new(1).with_word(DATA, TEXT, 1);
    let unaligned = word.with_word(DATA + 9, 0, 1).write();
    refused(&unaligned, Errno::EINVAL, ".xsplice.words+0x20: ");
}

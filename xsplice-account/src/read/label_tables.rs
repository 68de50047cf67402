//! Tables of places in code that count from their own start, as compilers make them for `switch`.
//!
//! Such a field alone says too much: its relocation adds how far it is from the start of the table,
//! and so seems to lead behind the place that is meant, often into the next function. What one of
//! them means is known only from all of them.

use std::ops::Range;

use xsplice_diff::read::object::ElfObject;

use crate::read::fields::{Field, Form};
use crate::read::items::{is_entry_table, target_offset};

/// Bytes of a field of such a table.
const WIDTH: u8 = 4;

/// Finds the tables of all sections and tells their fields what they count from. `cuts` are the
/// places that code refers to, `sized` what symbols with a size cover, in order; both by section.
pub(super) fn find(
    elf: &ElfObject<'_>,
    fields: &mut [Vec<Field>],
    cuts: &mut [Vec<u64>],
    sized: &[Vec<Range<u64>>],
) {
    for (index, section) in elf.sections.iter().enumerate() {
        if section.is_executable() || is_entry_table(section.name) {
            continue;
        }
        cuts[index].sort_unstable();
        let (starts, all) = (&cuts[index], &mut fields[index]);
        for (position, &start) in starts.iter().enumerate() {
            let end = starts.get(position + 1).copied().unwrap_or(section.size);
            let from = all.partition_point(|field| field.offset < start);
            let to = all.partition_point(|field| field.offset < end);
            let table = &mut all[from..to];
            if is_table(elf, index, start, table, sized) {
                for field in table {
                    field.ahead = field.offset - start;
                }
            }
        }
    }
}

/// Whether fields that begin at `start` are such a table: they stand side by side, and counted from
/// `start` every one leads into one function, not to where it begins. An array of distances that
/// count from their own places is none: its pointers to functions lead to where those begin.
fn is_table(
    elf: &ElfObject<'_>,
    index: usize,
    start: u64,
    table: &[Field],
    sized: &[Vec<Range<u64>>],
) -> bool {
    let mut function: Option<(usize, &Range<u64>)> = None;
    let mut places = (start..).step_by(usize::from(WIDTH));
    let all_lead_inside = table.iter().all(|field| {
        let is_in_line = places.next() == Some(field.offset);
        if !is_in_line || field.width != WIDTH || field.form != Form::Relative {
            return false;
        }
        let counted = Field {
            ahead: field.offset - start,
            ..*field
        };
        let Some((code, meant)) = target_offset(elf, index, &counted) else {
            return false;
        };
        if !elf.sections[code].is_executable() {
            return false;
        }
        let Some(range) = around(&sized[code], meant) else {
            return false;
        };
        let alone = target_offset(elf, index, field);
        let is_start = alone.is_some_and(|(code, alone)| {
            sized[code]
                .binary_search_by_key(&alone, |other| other.start)
                .is_ok()
                && alone != range.start
        });
        *function.get_or_insert((code, range)) == (code, range) && !is_start
    });
    all_lead_inside && function.is_some()
}

/// The last range that begins in front of `place`, when that lies in it.
fn around(sized: &[Range<u64>], place: u64) -> Option<&Range<u64>> {
    let at = sized.partition_point(|range| range.start < place);
    let range = sized.get(at.checked_sub(1)?)?;
    (place < range.end).then_some(range)
}

#[cfg(test)]
mod tests {
    use xsplice_diff::read::object::ElfObject;
    use xsplice_test_objects::compile;

    use crate::read::items::Object;

    /// Two functions, and a table among the constants that the first one refers to.
    const TEXT: &str = "
        .text
        .type f, @function
f:      leaq .Ltable(%rip), %rax
.Lone:  nop
.Ltwo:  ret
        .size f, . - f
        .type g, @function
g:      nop
        nop
        nop
.Linside: ret
        .size g, . - g
        .section .rodata
        .balign 4
";

    /// How far in front of each field of the table it counts from.
    fn ahead(table: &str) -> Vec<u64> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("f.s"), TEXT.to_owned() + table).expect("a file");
        let bytes = compile(folder.path(), "gcc", &[], "f.s");
        let elf = ElfObject::parse("f.o", &bytes).expect("an object");
        let index = elf.sections.iter().position(|one| one.name == ".rodata");
        let object = Object::new(elf, &bytes);
        let fields = &object.fields[index.expect("constants")];
        fields.iter().map(|field| field.ahead).collect()
    }

    #[test]
    fn distances_to_labels_of_one_function_count_from_the_table() {
        let table = ".Ltable: .long .Lone - .Ltable, .Ltwo - .Ltable, .Lone - .Ltable\n";
        assert_eq!(ahead(table), [0, 4, 8]);
    }

    #[test]
    fn distances_to_functions_count_from_their_own_places() {
        let table = ".Ltable: .long f - ., g - ., f - .\n";
        assert_eq!(ahead(table), [0, 0, 0]);
    }

    #[test]
    fn distances_into_two_functions_count_from_their_own_places() {
        let table = ".Ltable: .long .Lone - .Ltable, .Linside - .Ltable\n";
        assert_eq!(ahead(table), [0, 0]);
    }

    #[test]
    fn a_pointer_to_the_next_function_behind_one_to_a_label_counts_from_its_own_place() {
        // Counted from the table, the second would lead into the first function's last bytes.
        let table = ".Ltable: .long .Lone - ., g - .\n";
        assert_eq!(ahead(table), [0, 0]);
    }
}

//! Tables of places in code that count from their own start, as compilers make them for `switch`.
//!
//! Such a field alone says too much: its relocation adds how far it is from the start of the
//! table, and so seems to lead behind the place that is meant, often into the next function. What
//! one of them means is known only from all of them, and from the code that refers to the table.

use std::ops::Range;

use foldhash::HashMap;
use xsplice_diff::machine::{Flow, walk};
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
    let users = users(elf, fields);
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
            let known = users.get(&(index, start)).map_or(&[][..], Vec::as_slice);
            if is_table(elf, (index, start), table, sized, known) {
                for field in table {
                    field.ahead = field.offset - start;
                }
            }
        }
    }
}

/// A place of a section: index and offset.
type Spot = (usize, u64);

/// The places of data that code refers to without a name → the places of code from which it does.
fn users(elf: &ElfObject<'_>, fields: &[Vec<Field>]) -> HashMap<Spot, Vec<Spot>> {
    let mut users: HashMap<Spot, Vec<Spot>> = HashMap::default();
    for (code, section) in elf.sections.iter().enumerate() {
        for field in fields[code].iter().filter(|_| section.is_executable()) {
            if let Some(spot) = target_offset(elf, code, field) {
                users.entry(spot).or_default().push((code, field.offset));
            }
        }
    }
    users
}

/// Whether code jumps to an address that it read or made.
fn jumps_by_address(elf: &ElfObject<'_>, code: usize, range: &Range<u64>) -> bool {
    let bounds = usize::try_from(range.start).ok()..usize::try_from(range.end).ok();
    let bytes = bounds.start.zip(bounds.end);
    let bytes = bytes.and_then(|(start, end)| elf.sections[code].data.get(start..end));
    let mut all = walk(elf.machine, bytes.unwrap_or_default(), range.start);
    all.any(|one| one.is_valid && one.flow == Flow::IndirectJump)
}

/// Whether fields that begin at a place are such a table: they stand side by side, and counted
/// from there every one leads into one function, not to where it begins. An array of distances
/// that count from their own places is none: its pointers to functions lead to where those begin.
/// By chance an entry of a table seems to do that too; then the function that it leads into has to
/// be among the `users` of the table, and to jump to an address.
fn is_table(
    elf: &ElfObject<'_>,
    (index, start): Spot,
    table: &[Field],
    sized: &[Vec<Range<u64>>],
    users: &[Spot],
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
        let is_its_own = || {
            let mut users = users.iter();
            users.any(|&(user, at)| user == code && range.contains(&at))
                && jumps_by_address(elf, code, range)
        };
        let is_start = alone.is_some_and(|(code, alone)| {
            sized[code]
                .binary_search_by_key(&alone, |other| other.start)
                .is_ok()
                && alone != range.start
        });
        *function.get_or_insert((code, range)) == (code, range) && (!is_start || is_its_own())
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
        ahead_in(&(TEXT.to_owned() + table))
    }

    fn ahead_in(text: &str) -> Vec<u64> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("f.s"), text).expect("a file");
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
    fn an_entry_that_seems_to_lead_to_the_next_function_counts_from_the_table_of_code_that_jumps() {
        // By its own place, the second would lead to g.
        let table = ".Ltable: .long .Lone - .Ltable, .Lnear - .Ltable\n";
        let with = |jump: &str| {
            let text = format!(
                ".text\n.type f, @function\nf: leaq .Ltable(%rip), %rax\n.Lone: nop\n{jump}\n\
                 .Lnear: nop\nnop\nnop\nret\n.size f, . - f\n\
                 .type g, @function\ng: ret\n.size g, . - g\n.section .rodata\n{table}"
            );
            ahead_in(&text)
        };
        assert_eq!(with("jmp *%rax"), [0, 4]);
        assert_eq!(with("call *%rax"), [0, 0]);
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

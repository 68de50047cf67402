//! In which order the parts of a merged object were given to the linker.

use foldhash::HashMap;
use object::elf;

use crate::merged::tiles::{Parts, Rank};
use crate::read::object::{ElfObject, Symbol};

/// Where each part stands in the link, by its FILE symbol: linkers write symbols of one input after
/// the other. `None` where that is not told.
pub(super) fn ranks(
    merged: &ElfObject<'_>,
    parts: &Parts<'_, '_>,
    is_eligible: &[bool],
) -> Vec<Option<Rank>> {
    fn files<'o, 'data>(object: &'o ElfObject<'data>) -> impl Iterator<Item = (usize, &'data str)> {
        let symbols = object.symbols.iter().enumerate();
        let is_file = |(_, symbol): &(usize, &Symbol<'data>)| symbol.kind == elf::STT_FILE.0;
        symbols
            .filter(is_file)
            .map(|(index, symbol)| (index, symbol.name))
    }
    let mut found = vec![None; parts.objects.len()];
    // The part that has a FILE symbol of this name, where one alone has it.
    let mut of_file: HashMap<&str, Option<usize>> = HashMap::default();
    for (part, _) in is_eligible.iter().enumerate().filter(|(_, is)| **is) {
        for (_, name) in files(parts.objects[part].object) {
            let known = of_file.entry(name).or_insert(Some(part));
            *known = known.filter(|known| *known == part);
        }
    }
    for (index, name) in files(merged) {
        if let Some(Some(part)) = of_file.get(name) {
            found[*part].get_or_insert(index);
        }
    }
    found
}

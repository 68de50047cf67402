//! Searches the image for sections without a name: tables of entries, code that they lead to.

use std::ops::Range;

use foldhash::{HashMap, HashSet};
use object::elf;
use rayon::prelude::*;
use xsplice_diff::read::object::{Section, SectionId};

use crate::base::{covered, gaps};
use crate::follow::{Follower, Pair, Place, sections};
use crate::read::fields::{Field, Form, value};
use crate::read::image::{Bytes, Image, ImageSection};
use crate::read::tree::{ItemId, Target};

/// A section whose place is not known.
#[derive(Clone, Copy, Debug)]
struct Open {
    object: usize,
    section: SectionId,
    /// Offset of the field by which it is searched.
    field: u64,
}

/// How a field is read, and its bytes.
type Shape = (Form, u8);

/// Sections by where one of their fields must lead.
struct Wanted {
    by_address: HashMap<(Shape, u64), Vec<Open>>,
    /// All shapes that occur.
    shapes: HashSet<Shape>,
    /// Whether any address ends in these bits: nearly none of the many that are read does.
    endings: Vec<bool>,
}

impl Wanted {
    /// Low bits of an address that are looked at first.
    const ENDING_BITS: u32 = 16;

    fn new(by_address: HashMap<(Shape, u64), Vec<Open>>) -> Wanted {
        let mut endings = vec![false; 1 << Self::ENDING_BITS];
        for (_, address) in by_address.keys() {
            endings[Self::ending(*address)] = true;
        }
        Wanted {
            shapes: by_address.keys().map(|(shape, _)| *shape).collect(),
            by_address,
            endings,
        }
    }

    fn ending(address: u64) -> usize {
        let low = address & ((1 << Self::ENDING_BITS) - 1);
        usize::try_from(low).unwrap_or_default()
    }

    fn leading_to(&self, shape: Shape, address: u64) -> &[Open] {
        if !self.endings[Self::ending(address)] {
            return &[];
        }
        let opens = self.by_address.get(&(shape, address));
        opens.map_or(&[], Vec::as_slice)
    }
}

/// Searches for sections by where one of their fields must lead, anywhere in what is not found yet.
pub(super) fn by_references(follower: &mut Follower<'_, '_>) {
    let starts = sections::starts(follower);
    let mut wanted: HashMap<(Shape, u64), Vec<Open>> = HashMap::default();
    for (object, section) in open_sections(follower, &starts) {
        if let Some((shape, address, field)) = leading(follower, &starts, object, section) {
            let open = Open {
                object,
                section,
                field,
            };
            wanted.entry((shape, address)).or_default().push(open);
        }
    }
    if wanted.is_empty() {
        return;
    }
    let wanted = Wanted::new(wanted);
    let found: Vec<(Open, u64)> = gaps(follower.image, &covered(follower))
        .into_par_iter()
        .flat_map_iter(|gap| matches(follower, &gap, &wanted))
        .collect();
    let mut taken: HashSet<(usize, SectionId)> = HashSet::default();
    for (open, start) in found {
        let key = (open.object, open.section);
        if !taken.contains(&key) && is_there(follower, key, start) {
            taken.insert(key);
            ask_all(follower, key, start);
        }
    }
    follower.run();
}

/// Sections that have bytes, and no place so far.
fn open_sections(
    follower: &Follower<'_, '_>,
    starts: &sections::Starts,
) -> Vec<(usize, SectionId)> {
    let objects = follower.tree.objects.iter().enumerate();
    objects
        .flat_map(|(index, object)| {
            object.elf.sections().filter_map(move |(id, section)| {
                let is_open = section.is_allocated()
                    && section.size != 0
                    && !section.is_nobits()
                    && starts.get(index, id).is_none();
                (is_open && !object.items_of(id).is_empty()).then_some((index, id))
            })
        })
        .collect()
}

/// A field of the section whose target's place is known: how it is read, where it leads, its
/// offset.
fn leading(
    follower: &Follower<'_, '_>,
    starts: &sections::Starts,
    object: usize,
    section: SectionId,
) -> Option<(Shape, u64, u64)> {
    let tree = follower.tree;
    let fields = &tree.objects[object].fields[section.0 as usize];
    fields.iter().find_map(|field| {
        if !is_readable(field) {
            return None;
        }
        let address = match tree.target(object, section, field) {
            Target::Item { item, delta } => {
                let content = tree.item(item);
                let start = starts.get(item.object, content.section)?;
                start
                    .wrapping_add(content.range.start)
                    .wrapping_add_signed(delta)
            }
            Target::Name { name, delta, .. } => {
                let mut all = follower.image.named(name);
                all.next()?.address.wrapping_add_signed(delta)
            }
            Target::Content { .. }
            | Target::Number(_)
            | Target::Empty { .. }
            | Target::Nothing
            | Target::Unclear => {
                return None;
            }
        };
        Some(((field.form, field.width), address, field.offset))
    })
}

/// Whether the field says by itself where it leads.
fn is_readable(field: &Field) -> bool {
    let is_told_here = match field.form {
        Form::Absolute | Form::AbsoluteSigned | Form::Relative | Form::RelativeWithLine => true,
        Form::Slot | Form::Bits | Form::Unread | Form::Unknown => false,
    };
    is_told_here && field.kind.is_some()
}

/// Places in a gap from which one of the wanted fields leads where it must.
fn matches(follower: &Follower<'_, '_>, gap: &Range<u64>, wanted: &Wanted) -> Vec<(Open, u64)> {
    let mut found = Vec::new();
    let Some(Bytes::Present(bytes)) = follower.image.bytes(gap.start, gap.end - gap.start) else {
        return found;
    };
    for &(form, width) in &wanted.shapes {
        for (place, field) in (gap.start..).zip(bytes.windows(usize::from(width))) {
            let Some(read) = value(field, form) else {
                continue;
            };
            let address = match form {
                Form::Absolute if width == 8 => follower.image.relocated(place).unwrap_or(read),
                Form::Absolute | Form::AbsoluteSigned => read,
                _ => place.wrapping_add(read),
            };
            for open in wanted.leading_to((form, width), address) {
                found.push((*open, place.wrapping_sub(open.field)));
            }
        }
    }
    found
}

/// Whether every item of a section may be there.
fn is_there(follower: &Follower<'_, '_>, (object, id): (usize, SectionId), start: u64) -> bool {
    let cut = &follower.tree.objects[object];
    let section = cut.elf.section(id);
    start.is_multiple_of(section.alignment)
        && cut
            .items_of(id)
            .all(|item| follower.is_plausible(pair(follower, object, item, start)))
}

fn ask_all(follower: &mut Follower<'_, '_>, (object, id): (usize, SectionId), start: u64) {
    for item in follower.tree.objects[object].items_of(id) {
        let pair = pair(follower, object, item, start);
        follower.ask(pair);
    }
}

/// The claim that an item is there when its section begins at `start`.
fn pair(follower: &Follower<'_, '_>, object: usize, item: usize, start: u64) -> Pair {
    let offset = follower.tree.objects[object].items[item].range.start;
    Pair {
        item: ItemId { object, item },
        place: Place::Base(start.wrapping_add(offset)),
    }
}

/// What lies open in one section of the image, by address.
struct Room<'image, 'data> {
    output: &'image ImageSection<'data>,
    gaps: Vec<Range<u64>>,
}

impl Room<'_, '_> {
    /// Whether a linker may put the input section here.
    fn takes(&self, section: &Section<'_>) -> bool {
        let is_code = self.output.flags & elf::SHF_EXECINSTR.0 != 0;
        is_code == section.is_executable()
            && (is_code
                || self.output.name == ".rodata"
                || section.name.starts_with(self.output.name))
    }
}

/// The gaps, by the section of the image that they lie in.
fn rooms<'image, 'data>(
    image: &'image Image<'data>,
    gaps: Vec<Range<u64>>,
) -> Vec<Room<'image, 'data>> {
    let mut rooms: Vec<Room<'_, '_>> = Vec::new();
    for gap in gaps {
        let Some(output) = image.section_at(gap.start) else {
            continue;
        };
        match rooms.last_mut() {
            Some(last) if std::ptr::eq(last.output, output) => last.gaps.push(gap),
            _ => rooms.push(Room {
                output,
                gaps: vec![gap],
            }),
        }
    }
    rooms
}

/// Searches for the rest, which leads nowhere: such sections lie between others, in the order in
/// which the linker takes the objects.
pub(super) fn in_order(follower: &mut Follower<'_, '_>) {
    let starts = sections::starts(follower);
    let open = open_sections(follower, &starts);
    let size =
        |&(object, id): &(usize, SectionId)| follower.tree.objects[object].elf.section(id).size;
    // Most gaps are what alignment leaves, and too short for anything that is searched.
    let least = open.iter().map(size).min().unwrap_or_default();
    let mut gaps = gaps(follower.image, &covered(follower));
    gaps.retain(|gap| gap.end - gap.start >= least);
    let mut rooms = rooms(follower.image, gaps);
    for (object, id) in open {
        let section = follower.tree.objects[object].elf.section(id);
        let mut open = rooms.iter_mut().filter(|room| room.takes(section));
        let chosen = open.find_map(|room| {
            room.gaps.iter_mut().find_map(|gap| {
                let start = gap.start.checked_next_multiple_of(section.alignment)?;
                let end = start.checked_add(section.size)?;
                let is_it = end <= gap.end && is_there(follower, (object, id), start);
                is_it.then(|| {
                    gap.start = end;
                    start
                })
            })
        });
        if let Some(start) = chosen {
            ask_all(follower, (object, id), start);
        }
    }
    follower.run();
}

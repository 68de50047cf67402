//! Searches the image for sections without a name: tables of entries, code that they lead to.

use std::ops::Range;

use foldhash::{HashMap, HashSet};
use rayon::prelude::*;
use xsplice_diff::read::object::SectionId;

use crate::base::gaps;
use crate::base::rooms::{HEAD_BYTES, rooms};
use crate::base::standing::Standing;
use crate::follow::{Follower, Pair, Place, sections};
use crate::read::fields::{Field, Form, value};
use crate::read::image::Bytes;
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

/// Where fields must lead that are searched for.
struct Wanted {
    by_address: HashSet<(Shape, u64)>,
    /// All shapes that occur.
    shapes: HashSet<Shape>,
    /// Whether any address ends in these bits: nearly none of the many that are read does.
    endings: Vec<bool>,
}

impl Wanted {
    /// Low bits of an address that are looked at first.
    const ENDING_BITS: u32 = 16;

    fn new(by_address: HashSet<(Shape, u64)>) -> Wanted {
        let mut endings = vec![false; 1 << Self::ENDING_BITS];
        for (_, address) in &by_address {
            endings[Self::ending(*address)] = true;
        }
        Wanted {
            shapes: by_address.iter().map(|(shape, _)| *shape).collect(),
            by_address,
            endings,
        }
    }

    fn ending(address: u64) -> usize {
        let low = address & ((1 << Self::ENDING_BITS) - 1);
        usize::try_from(low).unwrap_or_default()
    }

    fn has(&self, shape: Shape, address: u64) -> bool {
        self.endings[Self::ending(address)] && self.by_address.contains(&(shape, address))
    }
}

/// Where fields that lead to certain addresses are, of all that were searched for: what is not
/// found yet becomes less from search to search, so that nothing new comes to be there.
#[derive(Debug, Default)]
pub(super) struct Searched(HashMap<(Shape, u64), Vec<u64>>);

/// Searches for sections by where one of their fields must lead, anywhere in what is not found yet.
pub(super) fn by_references(standing: &mut Standing<'_, '_>, searched: &mut Searched) {
    let follower = &standing.follower;
    let starts = standing.starts();
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
    searched.add(follower, &wanted, standing.covered());
    let mut found: Vec<(u64, Open)> = Vec::new();
    for (key, opens) in &wanted {
        let places = searched.0.get(key).into_iter().flatten();
        let width = u64::from(key.0.1);
        let free = places.filter(|&&place| is_free(standing.covered(), place, width));
        found.extend(free.flat_map(|&place| opens.iter().map(move |open| (place, *open))));
    }
    found.sort_unstable_by_key(|(place, open)| (*place, open.object, open.section));
    let mut taken: HashSet<(usize, SectionId)> = HashSet::default();
    let mut chosen = Vec::new();
    for (place, open) in found {
        let (key, start) = ((open.object, open.section), place.wrapping_sub(open.field));
        if !taken.contains(&key) && is_there(follower, key, start) {
            taken.insert(key);
            chosen.push((key, start));
        }
    }
    ask_all(standing, &chosen);
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

/// A field that leads where it must: how it is read, where to, its place.
type Match = ((Shape, u64), u64);

impl Searched {
    /// Searches the gaps for what was not searched for before.
    fn add(
        &mut self,
        follower: &Follower<'_, '_>,
        wanted: &HashMap<(Shape, u64), Vec<Open>>,
        covered: &[Range<u64>],
    ) {
        let new = wanted.keys().filter(|key| !self.0.contains_key(*key));
        let new: HashSet<(Shape, u64)> = new.copied().collect();
        if new.is_empty() {
            return;
        }
        self.0.extend(new.iter().map(|&key| (key, Vec::new())));
        let wanted = Wanted::new(new);
        let found: Vec<Match> = gaps(follower.image, covered)
            .into_par_iter()
            .flat_map_iter(|gap| matches(follower, &gap, &wanted))
            .collect();
        for (key, place) in found {
            self.0.entry(key).or_default().push(place);
        }
    }
}

/// Whether nothing was found at a place.
fn is_free(covered: &[Range<u64>], place: u64, width: u64) -> bool {
    let at = covered.partition_point(|range| range.end <= place);
    let next = covered.get(at);
    next.is_none_or(|next| place.saturating_add(width) <= next.start)
}

/// Places in a gap from which one of the wanted fields leads where it must.
fn matches(follower: &Follower<'_, '_>, gap: &Range<u64>, wanted: &Wanted) -> Vec<Match> {
    let mut found = Vec::new();
    let Some(Bytes::Present(bytes)) = follower.image.bytes(gap.start, gap.end - gap.start) else {
        return found;
    };
    for &shape in &wanted.shapes {
        let (form, width) = shape;
        let to = |place: u64, read: u64| match form {
            Form::Absolute if width == 8 => follower.image.relocated(place).unwrap_or(read),
            Form::Absolute | Form::AbsoluteSigned => read,
            _ => place.wrapping_add(read),
        };
        let mut look = |place: u64, read: u64| {
            let address = to(place, read);
            if wanted.has(shape, address) {
                found.push(((shape, address), place));
            }
        };
        // Nearly all are distances of four bytes, for which this is a few instructions.
        match (form, width) {
            (Form::Relative, 4) => {
                for (place, field) in (gap.start..).zip(bytes.array_windows()) {
                    let distance = i64::from(i32::from_le_bytes(*field));
                    look(place, distance.cast_unsigned());
                }
            }
            _ => {
                for (place, field) in (gap.start..).zip(bytes.windows(usize::from(width))) {
                    if let Some(read) = value(field, form) {
                        look(place, read);
                    }
                }
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

/// Asks for everything of these sections, where they begin there.
fn ask_all(standing: &mut Standing<'_, '_>, chosen: &[((usize, SectionId), u64)]) {
    for &((object, id), start) in chosen {
        for item in standing.follower.tree.objects[object].items_of(id) {
            let pair = pair(&standing.follower, object, item, start);
            standing.follower.ask(pair);
        }
    }
    standing.run();
}

/// The claim that an item is there when its section begins at `start`.
fn pair(follower: &Follower<'_, '_>, object: usize, item: usize, start: u64) -> Pair {
    let offset = follower.tree.objects[object].items[item].range.start;
    Pair {
        item: ItemId { object, item },
        place: Place::Base(start.wrapping_add(offset)),
    }
}

/// Searches for the rest, which leads nowhere: such sections lie between others, in the order in
/// which the linker takes the objects.
pub(super) fn in_order(standing: &mut Standing<'_, '_>) {
    let follower = &standing.follower;
    let open = open_sections(follower, &standing.starts());
    let mut rooms = rooms(follower.image, gaps(follower.image, standing.covered()));
    let mut chosen = Vec::new();
    for (object, id) in open {
        let section = follower.tree.objects[object].elf.section(id);
        let head = head(follower, object, id);
        let mut open = rooms.iter_mut().filter(|room| room.takes(section));
        let start = open.find_map(|room| {
            let is_it = |start| is_there(follower, (object, id), start);
            room.fill(follower.image, section, head, &is_it)
        });
        chosen.extend(start.map(|start| ((object, id), start)));
    }
    ask_all(standing, &chosen);
}

/// The first bytes of a section, when nothing that is there can have others: no field is in them,
/// and no linker moves one of these instructions away. They decide nothing but where to look: the
/// whole comparison is made wherever they are, and begins with them.
fn head<'data>(
    follower: &Follower<'_, 'data>,
    object: usize,
    id: SectionId,
) -> Option<&'data [u8]> {
    let cut = &follower.tree.objects[object];
    let section = cut.elf.section(id);
    let first = cut.fields[id.0 as usize].first();
    let free = first.map_or(u64::MAX, |field| field.offset);
    let may_move = section.is_executable() && cut.elf.machine.instruction_bytes.is_some();
    let mut lengths = HEAD_BYTES.into_iter().filter(|&length| length <= free);
    let heads = lengths.find_map(|length| section.data.get(..usize::try_from(length).ok()?));
    heads.filter(|_| !may_move)
}

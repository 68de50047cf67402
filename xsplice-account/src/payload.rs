//! The payload's half of the account: a place in the patched build for every byte of a payload.
//!
//! Whoever gets a payload may have neither the original tree nor the time to make the payload anew.
//! The objects that the payload is said to hold are enough to ask whether it holds them: each
//! function and datum in it must be, byte for byte and reference by reference, one of theirs, and
//! each record must lead from a function of the base to the one of its name. What the base holds is
//! the other half; here a name of the base stands for whatever the base has of that name.

use std::ops::Range;

use foldhash::HashMap;
use serde::Serialize;
use xsplice_abi::limits::SYMBOL_NAME_BYTES_MAX;
use xsplice_abi::{profile, section};
use xsplice_diff::machine;
use xsplice_diff::read::object::{Section, SectionId, SymbolPlace};

use crate::error::AccountError;
use crate::follow::{Follower, Pair, Place};
use crate::ranges::join;
use crate::read::image::Image;
use crate::read::items::is_entry_table;
use crate::read::names::{is_of, without_number};
use crate::read::payload::Payload;
use crate::read::tree::{ItemId, Tree};

/// What the payload's half is made of.
#[derive(Debug)]
pub struct PayloadInputs<'data> {
    /// The base.
    pub base: &'data [u8],
    /// Objects of the patched build, by name: at least those that the payload holds something of.
    pub objects: Vec<(&'data str, &'data [u8])>,
    /// The payload, without a signature.
    pub payload: &'data [u8],
}

/// What became of a payload's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PayloadAccount {
    /// Bytes of loaded sections.
    pub bytes: u64,
    /// Bytes that the objects hold.
    pub from_objects: u64,
    /// Bytes that the linker made: records, names, notes, slots of addresses.
    pub from_linker: u64,
    /// Bytes between items.
    pub padding: u64,
    /// What the objects do not hold, a sentence each.
    pub missing: Vec<String>,
}

/// Makes the payload's half.
///
/// # Errors
///
/// When the base or the payload cannot be read.
pub fn payload_account(inputs: &PayloadInputs<'_>) -> Result<PayloadAccount, AccountError> {
    let image = Image::parse(inputs.base)?;
    let payload = Payload::parse(inputs.payload, &image)?;
    let tree = Tree::read(&inputs.objects, &[], None);
    let mut follower = Follower::new(&tree, &image, Some(&payload), None, &[]);
    follower.copied = accepted_copies(&payload);
    let named = ask_named(&mut follower, &payload);
    follower.run();
    ask_beside(&mut follower);
    follower.run();
    ask_tables(&mut follower, &payload);
    follower.run();
    let mut account = PayloadAccount::default();
    for symbol in &named {
        account.missing.extend(symbol.without_place(&follower));
    }
    account.missing.extend(wrong_records(&follower, &payload));
    count(&follower, &payload, &mut account);
    Ok(account)
}

/// A function or datum of the payload, and the items of its name.
struct Named<'data> {
    name: &'data str,
    place: (SectionId, u64),
    items: Vec<ItemId>,
}

impl Named<'_> {
    /// Why none of the items is there, if that is so.
    fn without_place(&self, follower: &Follower<'_, '_>) -> Option<String> {
        let (section, offset) = self.place;
        let place = Place::Payload(section, offset);
        let pairs = self.items.iter().map(|&item| Pair { item, place });
        if pairs.clone().any(|pair| follower.holds(pair)) {
            return None;
        }
        let tree = follower.tree;
        let reasons = pairs.filter_map(|pair| {
            let (at, failure) = follower.why(pair)?;
            let object = &tree.objects[at.item.object].elf.name;
            let (shown, offset) = (tree.shown(at.item), failure.offset);
            let sentence = failure.sentence();
            Some(format!("{shown} of {object}, at +{offset:#x}: {sentence}"))
        });
        let why = reasons
            .max_by_key(String::len)
            .unwrap_or_else(|| "none of the objects has that name".to_owned());
        Some(format!(
            "{} is not as the objects have it: {why}",
            self.name
        ))
    }
}

/// Asks for everything that the payload has a name of.
fn ask_named<'data>(
    follower: &mut Follower<'_, 'data>,
    payload: &Payload<'data>,
) -> Vec<Named<'data>> {
    let tree = follower.tree;
    let mut of_name: HashMap<&str, Vec<ItemId>> = HashMap::default();
    for item in tree.items() {
        for symbol in tree.names(item) {
            of_name.entry(symbol.name).or_default().push(item);
        }
    }
    let mut all = Vec::new();
    for symbol in &payload.elf.symbols {
        let SymbolPlace::Section(section) = symbol.place else {
            continue;
        };
        let header = payload.elf.section(section);
        if symbol.is_section() || symbol.name.is_empty() || is_made(header) {
            continue;
        }
        let named = Named {
            name: symbol.name,
            place: (section, symbol.value),
            items: items_of(&of_name, symbol.name),
        };
        for &item in &named.items {
            let place = Place::Payload(section, symbol.value);
            follower.ask(Pair { item, place });
        }
        all.push(named);
    }
    all
}

/// The items that a payload's name may be of.
fn items_of(of_name: &HashMap<&str, Vec<ItemId>>, name: &str) -> Vec<ItemId> {
    let own = own_name(name);
    if name.len() < SYMBOL_NAME_BYTES_MAX {
        return of_name.get(own).cloned().unwrap_or_default();
    }
    // Of a name that is too long, the end is left.
    let ends = of_name.iter().filter(|(known, _)| known.ends_with(own));
    ends.flat_map(|(_, items)| items.iter().copied()).collect()
}

/// The variables of which the author accepted a second copy: the payload says so itself.
fn accepted_copies(payload: &Payload<'_>) -> Vec<String> {
    const KIND: &str = "static-local:";
    let mut sections = payload.elf.sections();
    let info = sections.find(|(_, section)| section.name == section::MODINFO);
    let text = info.map_or(&[][..], |(_, section)| section.data);
    let values = text.split(|&byte| byte == 0).filter_map(|line| {
        let (key, value) = str::from_utf8(line).ok()?.split_once('=')?;
        (key == section::modinfo::ACCEPTED).then_some(value)
    });
    let names = values.filter_map(|value| Some(value.split_once(KIND)?.1.to_owned()));
    names.collect()
}

/// Asks for what stands beside something that was found, in the payload as in its object: what has
/// no name there, such as the hash of a type in front of a function.
fn ask_beside(follower: &mut Follower<'_, '_>) {
    let tree = follower.tree;
    let mut beside = Vec::new();
    for Pair { item, place } in carried(follower) {
        let Place::Payload(id, offset) = place else {
            continue;
        };
        let own = tree.item(item);
        let cut = &tree.objects[item.object];
        let Some(start) = offset.checked_sub(own.range.start) else {
            continue;
        };
        let others = cut
            .items_of(own.section)
            .filter(|other| *other != item.item);
        beside.extend(others.map(|other| Pair {
            item: ItemId {
                object: item.object,
                item: other,
            },
            place: Place::Payload(id, start.saturating_add(cut.items[other].range.start)),
        }));
    }
    for pair in beside {
        if follower.is_plausible(pair) {
            follower.ask(pair);
        }
    }
}

/// A name as the object has it: payloads put their own name and the file's in front.
fn own_name(name: &str) -> &str {
    let rest = name.rsplit_once('#').map(|(_, rest)| rest);
    rest.unwrap_or_else(|| name.split_once(':').map_or(name, |(_, rest)| rest))
}

/// Asks for the entries of tables, hooks among them: they have no names.
fn ask_tables(follower: &mut Follower<'_, '_>, payload: &Payload<'_>) {
    let tree = follower.tree;
    let mut objects: Vec<usize> = carried(follower).map(|pair| pair.item.object).collect();
    objects.sort_unstable();
    objects.dedup();
    for (id, table) in payload.elf.sections() {
        let is_hook = is_hook(table);
        if !table.is_allocated() || !is_hook && !is_entry_table(table.name) {
            continue;
        }
        // A hook may be all that a payload has of its object.
        let all: Vec<usize> = if is_hook {
            (0..tree.objects.len()).collect()
        } else {
            objects.clone()
        };
        for object in all {
            let cut = &tree.objects[object];
            let same = cut.elf.sections().filter(|(_, own)| own.name == table.name);
            for item in same.flat_map(|(own, _)| cut.items_of(own)) {
                let size = cut.items[item].size();
                let count = table.size.checked_div(size).unwrap_or_default();
                for start in (0..count).map(|index| index * size) {
                    let item = ItemId { object, item };
                    let place = Place::Payload(id, start);
                    let pair = Pair { item, place };
                    if follower.is_plausible(pair) {
                        follower.ask(pair);
                    }
                }
            }
        }
    }
}

/// What holds in the payload.
fn carried(follower: &Follower<'_, '_>) -> impl Iterator<Item = Pair> {
    let all = follower.holding().map(|found| found.pair);
    all.filter(|pair| matches!(pair.place, Place::Payload(..)))
}

/// Records that lead to something else than the function of their place in the base.
fn wrong_records(follower: &Follower<'_, '_>, payload: &Payload<'_>) -> Vec<String> {
    let (tree, image) = (follower.tree, follower.image);
    let mut records: Vec<_> = payload.records.iter().collect();
    records.sort_unstable();
    let mut wrong = Vec::new();
    for (&old, &(section, offset)) in records {
        let there = carried(follower).filter(|p| p.place == Place::Payload(section, offset));
        let names: Vec<&str> = there
            .flat_map(|pair| tree.names(pair.item))
            .map(|symbol| symbol.name)
            .collect();
        let here: Vec<&str> = image.symbols_at(old).map(|symbol| symbol.name).collect();
        let is_it = here.iter().any(|here| {
            let stem = without_number(here);
            names
                .iter()
                .any(|name| name == here || without_number(name) == stem)
        });
        if !is_it {
            let leads = match names.first() {
                Some(name) => format!("leads to {name}"),
                None => "leads to what no object holds".to_owned(),
            };
            let place = image.describe(old);
            wrong.push(format!("the record of {place} {leads}"));
        }
    }
    wrong
}

/// Whether the linker makes a section as a whole.
fn is_made(section: &Section<'_>) -> bool {
    let is_own = profile::ALL
        .iter()
        .any(|profile| section.name.starts_with(profile.prefix));
    is_own && !is_hook(section) || is_of(".note", section.name) || section.name == section::MODINFO
}

fn is_hook(section: &Section<'_>) -> bool {
    profile::ALL.iter().any(|profile| {
        let rest = section.name.strip_prefix(profile.prefix);
        rest.is_some_and(|rest| rest.starts_with(section::HOOKS))
    })
}

/// Counts, and lists the bytes that nothing of the objects is at.
fn count(follower: &Follower<'_, '_>, payload: &Payload<'_>, account: &mut PayloadAccount) {
    let mut found: HashMap<SectionId, Vec<Range<u64>>> = HashMap::default();
    let mut slots = found.clone();
    for holding in follower.holding() {
        let size = follower.tree.item(holding.pair.item).size();
        let own = std::iter::once((holding.pair.place, size));
        for (place, size) in own.chain(holding.contents.iter().copied()) {
            if let Place::Payload(section, start) = place {
                let range = start..start.saturating_add(size);
                found.entry(section).or_default().push(range);
            }
        }
        for &place in holding.slots {
            if let Place::Payload(section, start) = place {
                let range = start..start.saturating_add(SLOT_BYTES);
                slots.entry(section).or_default().push(range);
            }
        }
    }
    for (id, section) in payload.elf.sections() {
        if !section.is_allocated() {
            continue;
        }
        account.bytes += section.size;
        if is_made(section) {
            account.from_linker += section.size;
            continue;
        }
        let own = found.remove(&id).unwrap_or_default();
        let mut all = slots.remove(&id).unwrap_or_default();
        let from_objects = total(&join(own.clone()));
        account.from_objects += from_objects;
        all.extend(own);
        let all = join(all);
        account.from_linker += total(&all) - from_objects;
        for gap in between(&all, section.size) {
            let relocations = payload.elf.relocations_of(id).iter();
            let is_filled = relocations
                .map(|one| one.offset)
                .any(|at| gap.contains(&at));
            if !is_filled && is_padding(follower.image, section, &gap) {
                account.padding += gap.end - gap.start;
            } else {
                let (bytes, start) = (gap.end - gap.start, gap.start);
                account.missing.push(format!(
                    "{bytes} bytes at {}+{start:#x} of the payload are in none of the objects",
                    section.name
                ));
            }
        }
    }
}

/// Bytes of a slot that holds an address.
const SLOT_BYTES: u64 = 8;

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// What lies between sorted ranges of a section.
fn between(ranges: &[Range<u64>], size: u64) -> Vec<Range<u64>> {
    let mut position = 0;
    let mut gaps = Vec::new();
    for range in ranges.iter().cloned().chain(std::iter::once(size..size)) {
        if position < range.start {
            gaps.push(position..range.start);
        }
        position = position.max(range.end);
    }
    gaps
}

/// Whether bytes of the payload are what alignment leaves. Zeros between data are; where a section
/// has a relocation, there is something.
fn is_padding(image: &Image<'_>, section: &Section<'_>, gap: &Range<u64>) -> bool {
    if section.is_nobits() {
        return true;
    }
    let bounds = usize::try_from(gap.start)
        .ok()
        .zip(usize::try_from(gap.end).ok());
    let bytes = bounds.and_then(|(start, end)| section.data.get(start..end));
    bytes.is_some_and(|bytes| {
        let is_code = section.is_executable();
        bytes.iter().all(|&byte| byte == 0) || is_code && machine::is_padding(image.machine, bytes)
    })
}

//! Objects that only exist inside an archive.
//!
//! Most archives are made from objects beside them, which are compared anyway. A member that is not
//! among those is compared as `lib.a(member.o)`; otherwise a change in it would be missed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use anyhow::{Context, Result};
use object::read::archive::ArchiveFile;

use crate::inputs::pair::Pair;
use crate::inputs::{Bytes, Input, ObjectBytes, open_all};

const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Adds the members of `archives` that differ or that only one tree has, and that are not among the
/// inputs, in order of name.
///
/// # Errors
/// An archive that cannot be read.
pub fn add_members(inputs: &mut Vec<Input>, archives: Vec<Pair>, ignored: &[Pair]) -> Result<()> {
    let mut members = Vec::new();
    for archive in open_all(archives)? {
        members.extend(differing(&archive)?);
    }
    if members.is_empty() {
        return Ok(());
    }
    let left_out = open_all(ignored.to_vec())?;
    let mut known: HashMap<(Option<usize>, Option<usize>), Vec<&Input>> = HashMap::new();
    for input in inputs.iter().chain(&left_out) {
        known.entry(lengths(input)).or_default().push(input);
    }
    members.retain(|member| {
        let bytes = (member.original(), member.patched());
        let mut alike = known.get(&lengths(member)).into_iter().flatten();
        !alike.any(|input| (input.original(), input.patched()) == bytes)
    });
    inputs.extend(members);
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}

fn lengths(input: &Input) -> (Option<usize>, Option<usize>) {
    let length = |bytes: Option<&[u8]>| bytes.map(<[u8]>::len);
    (length(input.original()), length(input.patched()))
}

/// The members that are not the same in both trees.
fn differing(archive: &Input) -> Result<Vec<Input>> {
    if archive.original() == archive.patched() {
        return Ok(Vec::new());
    }
    let (original, patched) = match &archive.bytes {
        Bytes::Both { original, patched } => (Some(original), Some(patched)),
        Bytes::Added { patched } => (None, Some(patched)),
        Bytes::Removed { original } => (Some(original), None),
    };
    let members = |file: Option<&ObjectBytes>| {
        file.map_or_else(|| Ok(BTreeMap::new()), members)
            .with_context(|| format!("{}: not a sound archive", archive.name))
    };
    let (originals, mut patcheds) = (members(original)?, members(patched)?);
    let mut found = Vec::new();
    for (member, original) in originals {
        let bytes = match patcheds.remove(&member) {
            Some(patched) if patched[..] == original[..] => continue,
            Some(patched) => Bytes::Both { original, patched },
            None => Bytes::Removed { original },
        };
        found.push((member, bytes));
    }
    let added = patcheds.into_iter();
    found.extend(added.map(|(member, patched)| (member, Bytes::Added { patched })));
    let inputs = found.into_iter().map(|((member, count), bytes)| Input {
        name: match count {
            0 => format!("{}({member})", archive.name),
            _ => format!("{}({member}:{})", archive.name, count + 1),
        },
        bytes,
    });
    Ok(inputs.collect())
}

/// A member's name, and how many members of that name precede it.
type MemberName = (String, usize);

/// The ELF members of an archive. A thin archive has none: its members are files of the tree.
fn members(file: &ObjectBytes) -> Result<BTreeMap<MemberName, ObjectBytes>> {
    let archive = ArchiveFile::parse(&file[..])?;
    let mut members = BTreeMap::new();
    if archive.is_thin() {
        return Ok(members);
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for member in archive.members() {
        let member = member?;
        let name = String::from_utf8_lossy(member.name()).into_owned();
        let (start, size) = member.file_range();
        let range = range(start, size, file.len())
            .with_context(|| format!("member {name} lies outside the file"))?;
        if !file[range.clone()].starts_with(ELF_MAGIC) {
            continue;
        }
        let count = counts.entry(name.clone()).or_default();
        members.insert((name, *count), file.part(range));
        *count += 1;
    }
    Ok(members)
}

fn range(start: u64, size: u64, file_bytes: usize) -> Option<Range<usize>> {
    let start = usize::try_from(start).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= file_bytes).then_some(start..end)
}

//! Objects that only exist inside an archive.
//!
//! Most archives are made from objects beside them, which are compared anyway. A member that is not
//! among those is compared as `lib.a(member.o)`; otherwise a change in it would be missed. Archives
//! may hold archives, and a thin one names files that may lie outside of the tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::read::archive::ArchiveFile;

use xsplice_link::Refusal;
use xsplice_link::command::input;

use crate::inputs::content::{Kind, kind_of_bytes};
use crate::inputs::order;
use crate::inputs::pair::Pair;
use crate::inputs::{Bytes, Input, ObjectBytes};

/// Archives in archives are followed this deep.
const DEPTH_MAX: usize = 8;

/// Adds the members of `archives` that are neither among the inputs nor among what was left out by
/// name, in order of name. Those that are the same in both trees are in the base too, and a fix may
/// be the first to call them. Returns what is wrong with the order of members.
///
/// # Errors
/// An archive that cannot be read.
pub(crate) fn add_members(
    inputs: &mut Vec<Input>,
    archives: Vec<Pair>,
    left_out: &[Input],
) -> Result<Vec<Refusal>> {
    let mut members = Vec::new();
    let mut refusals = Vec::new();
    for pair in archives {
        let folders = Folders::of(&pair);
        let (found, refusal) = members_of(&Input::open(pair)?, &folders)?;
        members.extend(found);
        refusals.extend(refusal);
    }
    if members.is_empty() {
        return Ok(refusals);
    }
    let mut known: HashMap<(Option<usize>, Option<usize>), Vec<&Input>> = HashMap::new();
    for input in inputs.iter().chain(left_out) {
        known.entry(lengths(input)).or_default().push(input);
    }
    members.retain(|member| {
        let bytes = (member.original(), member.patched());
        let mut alike = known.get(&lengths(member)).into_iter().flatten();
        !alike.any(|input| (input.original(), input.patched()) == bytes)
    });
    inputs.extend(members);
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(refusals)
}

fn lengths(input: &Input) -> (Option<usize>, Option<usize>) {
    let length = |bytes: Option<&[u8]>| bytes.map(<[u8]>::len);
    (length(input.original()), length(input.patched()))
}

/// Where the archives of a pair lie: the members of thin ones are named from there.
struct Folders {
    original: PathBuf,
    patched: PathBuf,
}

impl Folders {
    fn of(pair: &Pair) -> Folders {
        let folder = |path: &Path| path.parent().unwrap_or(Path::new("")).to_path_buf();
        let (original, patched) = match pair {
            Pair::Both {
                original, patched, ..
            } => (original, patched),
            Pair::Added { patched, .. } => (patched, patched),
            Pair::Removed { original, .. } => (original, original),
        };
        Folders {
            original: folder(original),
            patched: folder(patched),
        }
    }
}

/// The members of both trees, in pairs; and what is wrong with their order.
fn members_of(archive: &Input, folders: &Folders) -> Result<(Vec<Input>, Option<Refusal>)> {
    let (original, patched) = match &archive.bytes {
        Bytes::Both { original, patched } => (Some(original), Some(patched)),
        Bytes::Added { patched } => (None, Some(patched)),
        Bytes::Removed { original } => (Some(original), None),
    };
    let members = |file: Option<&ObjectBytes>, folder: &Path| {
        let mut found = Members::default();
        let added = file.map_or(Ok(()), |file| add(&mut found, "", file, folder, DEPTH_MAX));
        added.with_context(|| format!("{}: not a sound archive", archive.name))?;
        Ok::<_, anyhow::Error>(found)
    };
    let originals = members(original, &folders.original)?;
    let mut patcheds = members(patched, &folders.patched)?;
    let refusal = order::compare(&archive.name, &originals.in_order(), &patcheds.in_order());
    let mut found = Vec::new();
    for (member, original) in originals.bytes {
        let bytes = match patcheds.bytes.remove(&member) {
            Some(patched) => Bytes::Both { original, patched },
            None => Bytes::Removed { original },
        };
        found.push((member, bytes));
    }
    let added = patcheds.bytes.into_iter();
    found.extend(added.map(|(member, patched)| (member, Bytes::Added { patched })));
    let inputs = found.into_iter().map(|(member, bytes)| {
        let name = format!("{}({})", archive.name, shown(&member));
        Input::new(name, bytes)
    });
    Ok((inputs.collect(), refusal))
}

/// A member as reports call it.
fn shown((member, count): &MemberName) -> String {
    match count {
        0 => member.clone(),
        _ => format!("{member}:{}", count + 1),
    }
}

/// The objects of an archive.
#[derive(Default)]
struct Members {
    bytes: BTreeMap<MemberName, ObjectBytes>,
    /// Their names, in the order of the archive.
    order: Vec<(MemberName, String)>,
}

impl Members {
    fn insert(&mut self, name: MemberName, bytes: ObjectBytes) {
        let shown = shown(&name);
        self.order.push((name.clone(), shown));
        self.bytes.insert(name, bytes);
    }

    fn in_order(&self) -> Vec<order::Member<'_>> {
        let all = self.order.iter();
        all.filter_map(|(name, shown)| Some((shown.as_str(), &self.bytes.get(name)?[..])))
            .collect()
    }
}

/// A member's name, and how many members of that name precede it.
type MemberName = (String, usize);

/// Adds the objects of an archive, and of the archives in it, whose names then stand `before`
/// theirs. The members of a thin archive are files, named from its `folder`.
fn add(
    found: &mut Members,
    before: &str,
    file: &ObjectBytes,
    folder: &Path,
    depth: usize,
) -> Result<()> {
    let archive = ArchiveFile::parse(&file[..])?;
    for member in archive.members() {
        let member = member?;
        let (name, bytes, folder) = if member.is_thin() {
            let path = folder.join(OsStr::from_bytes(member.name()));
            // What is not there was not linked either.
            let Ok(bytes) = input::open(&path) else {
                continue;
            };
            // Where it lies may differ from tree to tree.
            let name = path.file_name().unwrap_or(path.as_os_str());
            let name = name.to_string_lossy().into_owned();
            let folder = path.parent().unwrap_or(folder).to_path_buf();
            (name, ObjectBytes::whole(bytes), folder)
        } else {
            let name = String::from_utf8_lossy(member.name()).into_owned();
            let (start, size) = member.file_range();
            let range = range(start, size, file.len())
                .with_context(|| format!("member {name} lies outside the file"))?;
            (name, file.part(range), folder.to_path_buf())
        };
        let name = format!("{before}{name}");
        match kind_of_bytes(&bytes) {
            Kind::Archive => {
                let depth = depth.checked_sub(1).with_context(|| {
                    format!("member {name} is an archive in {DEPTH_MAX} archives")
                })?;
                add(found, &format!("{name}/"), &bytes, &folder, depth)?;
            }
            Kind::Object => {
                let mut count = 0;
                while found.bytes.contains_key(&(name.clone(), count)) {
                    count += 1;
                }
                found.insert((name, count), bytes);
            }
            Kind::Image | Kind::Other => {}
        }
    }
    Ok(())
}

fn range(start: u64, size: u64, file_bytes: usize) -> Option<Range<usize>> {
    let start = usize::try_from(start).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= file_bytes).then_some(start..end)
}

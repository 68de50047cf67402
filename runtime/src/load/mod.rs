//! UPLOAD: from a file to a loaded payload.
//!
//! Order: signature, file, base, duplicates, memory, symbols, relocations, alternatives, records,
//! tables; then the finished image is copied into its regions and these are protected. Until then
//! no running code can see it, and every failure frees all memory.

pub mod place;
pub mod records;
pub(crate) mod relocate;
pub(crate) mod special;

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use thiserror::Error;
use xsplice_abi::errno::Errno;
use xsplice_abi::section::FUNCS;

use crate::base::Base;
use crate::check::{self, CheckError, Facts, Fault, sections};
use crate::load::place::{ACCESSES, Image};
use crate::names::{Name, OutOfMemory};
use crate::patch::record::{Record, Replacement, Word};
use crate::patch::trampoline::{WINDOW_BYTES, room, window_bytes};
use crate::patch::{Patch, WordPatch};
use crate::payload::directory::{Directory, Listing, Novelty, PayloadSymbol};
use crate::payload::stack::Stack;
use crate::payload::tables::Hooks;
use crate::payload::{BuildId, Freshness, Payload, PayloadId, PayloadState, Placed};
use crate::platform::{Access, Level, Platform, Region, RegionsExhausted};
use crate::read::elf::{self, ElfError};
use crate::read::signature::{self, SignatureError, Verifier};
use crate::read::symbols::Lookup;
use crate::read::view::{SHT_NOBITS, STT_FUNC, View};

/// Why a payload was not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoadError<'data> {
    /// Its signature.
    #[error("{0}")]
    Signature(SignatureError),
    /// The file cannot be read.
    #[error("{0}")]
    Elf(ElfError),
    /// It breaks a rule.
    #[error("{0}")]
    Check(CheckError<'data>),
    /// No free region near the base.
    #[error("{0}")]
    Regions(RegionsExhausted),
    /// No memory for the runtime's tables.
    #[error("out of memory")]
    OutOfMemory,
}

impl LoadError<'_> {
    /// What UPLOAD returns.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            LoadError::Signature(error) => error.errno(),
            LoadError::Elf(error) => error.errno(),
            LoadError::Check(error) => error.errno(),
            LoadError::Regions(_) | LoadError::OutOfMemory => Errno::ENOMEM,
        }
    }
}

impl<'data> From<CheckError<'data>> for LoadError<'data> {
    fn from(error: CheckError<'data>) -> Self {
        LoadError::Check(error)
    }
}

impl From<OutOfMemory> for LoadError<'_> {
    fn from(_: OutOfMemory) -> Self {
        LoadError::OutOfMemory
    }
}

/// What a loader needs besides the payload.
pub struct Surroundings<'a, 'base, P> {
    /// Where memory comes from.
    pub platform: &'a P,
    /// What runs.
    pub base: &'a Base<'base>,
    /// Addresses of text that may not be replaced.
    pub denied: &'a [Range<u64>],
    /// Who knows the trusted keys.
    pub verifier: Option<&'base dyn Verifier>,
    /// Payloads that are loaded.
    pub directory: &'a Directory,
}

impl<P> fmt::Debug for Surroundings<'_, '_, P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Surroundings")
            .field("denied", &self.denied)
            .finish_non_exhaustive()
    }
}

/// Regions that are given back unless they are kept.
struct Reserved<'p, P: Platform> {
    platform: &'p P,
    regions: [Option<Region>; 3],
}

impl<P: Platform> Reserved<'_, P> {
    fn keep(mut self) -> [Option<Region>; 3] {
        core::mem::take(&mut self.regions)
    }
}

impl<P: Platform> Drop for Reserved<'_, P> {
    fn drop(&mut self) {
        // Never protected, so never mapped except for `fill`: no TLB can hold them.
        for region in self.regions.iter().flatten() {
            self.platform.unmap(*region);
            self.platform.release(*region);
        }
    }
}

/// Reads, checks and places the payload in `file` under `name` (NUL included). `is_loaded` says
/// whether a build-id is there already. Other payloads may come and go meanwhile: whether what was
/// found of them is still so is for the caller to find out, see [`still_fits`].
///
/// # Errors
/// See [`LoadError`]; nothing is left behind then.
pub fn load<'data, P: Platform>(
    around: &Surroundings<'_, '_, P>,
    is_loaded: impl Fn(&[u8]) -> bool,
    id: PayloadId,
    name: &[u8],
    file: &'data [u8],
) -> Result<(Payload, Listing), LoadError<'data>> {
    let content = signature::accept(file, around.verifier).map_err(LoadError::Signature)?;
    let view = elf::parse(content).map_err(LoadError::Elf)?;
    let facts = check::payload(&view, around.platform.machine())?;
    check::base(&facts, around.base.build_id)?;
    new_build_id(around, is_loaded, &facts)?;

    let layout = place::lay_out(&view)?;
    let mut reserved = Reserved {
        platform: around.platform,
        regions: [None; 3],
    };
    for (slot, access) in reserved.regions.iter_mut().zip(ACCESSES) {
        let bytes = layout.region_bytes(access);
        if bytes > 0 {
            *slot = Some(
                around
                    .platform
                    .allocate(bytes)
                    .map_err(LoadError::Regions)?,
            );
        }
    }
    let mut image = Image::new(&view, layout, reserved.regions)?;
    let mut uses = Vec::new();
    let addresses =
        relocate::addresses(&view, &image, |symbol| resolve(around, symbol, &mut uses))?;
    let made_for = (facts.profile, facts.machine);
    relocate::apply(&view, made_for, &addresses, &mut image)?;
    let tables = special::tables(
        &view,
        made_for,
        (&mut image, &around.base.text),
        |feature| around.platform.has_feature(feature),
    )?;
    let alternatives = tables.alternatives;
    if alternatives > 0 {
        around.platform.log(
            Level::Info,
            format_args!("{}: {alternatives} alternatives in place", label(name)),
        );
    }
    let records = records::records(&view, made_for, &image, |symbol| {
        resolve(around, symbol, &mut uses)
    })?;
    judge_records(around, &view, &facts, &records, &mut uses)?;
    let words = records::words(&view, facts.profile, &image)?;
    judge_words(around, &words, &mut uses)?;

    let mut listing = listing(around, &view, &image, &addresses, &records, id, name)?;
    listing.exceptions = tables.exceptions;
    listing.bugs = tables.bugs;
    let mut payload = payload(&view, &facts, &image, id, name)?;
    payload.hooks = special::hooks(&view, facts.profile, &image)?;
    keep_patches(&mut payload, &records, &words)?;
    payload.uses = uses;

    for access in ACCESSES {
        if let Some(region) = image.region(access) {
            let used_bytes = u64::try_from(image.contents(access).len()).unwrap_or(u64::MAX);
            let placed = Placed {
                region,
                access,
                used_bytes,
            };
            for regions in [&mut payload.regions, &mut listing.regions] {
                regions
                    .try_reserve_exact(ACCESSES.len())
                    .map_err(|_| OutOfMemory)?;
                regions.push(placed);
            }
        }
    }
    for placed in &payload.regions {
        around
            .platform
            .fill(placed.region, image.contents(placed.access));
        around.platform.protect(placed.region, placed.access);
    }
    reserved.keep();
    Ok((payload, listing))
}

fn label(name: &[u8]) -> &str {
    core::str::from_utf8(name.strip_suffix(&[0]).unwrap_or(name)).unwrap_or_default()
}

fn new_build_id<'data, P: Platform>(
    around: &Surroundings<'_, '_, P>,
    is_loaded: impl Fn(&[u8]) -> bool,
    facts: &Facts<'data>,
) -> Result<(), CheckError<'data>> {
    let id = facts.notes.build_id;
    if id == around.base.build_id || is_loaded(id) {
        return Err(Fault::BuildIdTaken.of_file());
    }
    Ok(())
}

/// Finds that what was loaded beside others still goes with those on `stack`, which is locked from
/// here until the payload is on it: names and build-id are new, and what it refers to is there.
///
/// # Errors
/// -EEXIST, or -EBUSY for a payload that it refers to and that has gone meanwhile.
pub(crate) fn still_fits<P: Platform>(
    around: &Surroundings<'_, '_, P>,
    stack: &Stack,
    payload: &Payload,
    listing: &Listing,
) -> Result<(), Errno> {
    let is_same = |other: &Payload| {
        other.name == payload.name || other.build_id.as_bytes() == payload.build_id.as_bytes()
    };
    if stack.payloads.iter().any(is_same) {
        return Err(Errno::EEXIST);
    }
    if payload.uses.iter().any(|id| stack.get(*id).is_none()) {
        return Err(Errno::EBUSY);
    }
    let new = |symbol: &&PayloadSymbol| symbol.novelty == Novelty::New;
    let mut names = listing.symbols.iter().filter(new);
    let is_taken = around.directory.read(around.platform, |others| {
        names.any(|symbol| {
            let name = symbol.name.read(&listing.names);
            others.iter().any(|other| other.new_symbol(name).is_some())
        })
    });
    if is_taken {
        return Err(Errno::EEXIST);
    }
    Ok(())
}

/// Finds an undefined symbol: in the base, else among the new symbols of loaded payloads.
fn resolve<P: Platform>(
    around: &Surroundings<'_, '_, P>,
    name: &str,
    uses: &mut Vec<PayloadId>,
) -> Result<u64, Fault> {
    match around.base.symbols.lookup(name) {
        Lookup::Found(symbol) => return Ok(symbol.address),
        Lookup::Ambiguous(..) => return Err(Fault::SymbolAmbiguous),
        Lookup::Missing => {}
    }
    let found = around.directory.read(around.platform, |listings| {
        listings
            .iter()
            .find_map(|listing| Some((listing.id, listing.new_symbol(name)?.address)))
    });
    let (id, address) = found.ok_or(Fault::SymbolUnknown)?;
    note_use(uses, id)?;
    Ok(address)
}

fn note_use(uses: &mut Vec<PayloadId>, id: PayloadId) -> Result<(), Fault> {
    if !uses.contains(&id) {
        uses.try_reserve(1).map_err(|_| Fault::OutOfMemory)?;
        uses.push(id);
    }
    Ok(())
}

fn judge_records<'data, P: Platform>(
    around: &Surroundings<'_, '_, P>,
    view: &View<'data>,
    facts: &Facts<'data>,
    records: &[Record<'_>],
    uses: &mut Vec<PayloadId>,
) -> Result<(), CheckError<'data>> {
    let section = view
        .named(facts.profile.prefix, FUNCS)
        .map_or("", |(_, section)| section.name);
    // Code of another payload may be replaced like the base's. That payload must then stay loaded.
    let owner = |address: u64, bytes: u64| {
        around.directory.read(around.platform, |listings| {
            listings.iter().find_map(|listing| {
                let is_inside = |placed: &Placed| {
                    placed.access == Access::ReadExecute
                        && address
                            .checked_sub(placed.region.address)
                            .and_then(|offset| offset.checked_add(bytes))
                            .is_some_and(|end| end <= placed.used_bytes)
                };
                listing.regions.iter().any(is_inside).then_some(listing.id)
            })
        })
    };
    records::targets(
        facts.machine,
        records,
        section,
        &around.base.text,
        |address, bytes| owner(address, bytes).is_some(),
    )?;
    records::disjoint(records, section)?;
    for (index, record) in records.iter().enumerate() {
        let at = u64::try_from(index * facts.profile.record_bytes).unwrap_or(u64::MAX);
        let end = record.old_address.saturating_add(record.old_bytes.into());
        let is_denied = around
            .denied
            .iter()
            .any(|denied| record.old_address < denied.end && denied.start < end);
        if is_denied {
            return Err(Fault::RecordDenied.at(section, at));
        }
        judge_room(around.platform, record).map_err(|fault| fault.at(section, at))?;
        if let Some(id) = owner(record.old_address, record.old_bytes.into()) {
            note_use(uses, id).map_err(|fault| fault.at(section, at))?;
        }
    }
    Ok(())
}

/// Checks that the code that a record replaces has room for its jump.
fn judge_room(platform: &impl Platform, record: &Record<'_>) -> Result<(), Fault> {
    let Replacement::Jump(_) = record.replacement else {
        return Ok(());
    };
    let mut window = [0; WINDOW_BYTES];
    let code = &mut window[..window_bytes(record.old_bytes)];
    let address = record.old_address;
    platform
        .read(address, code)
        .map_err(|_| Fault::RecordOld { address })?;
    room(platform.machine(), record.old_bytes, code)
}

/// Checks that every word is readable data of the running image and is changed only once.
fn judge_words<'data, P: Platform>(
    around: &Surroundings<'_, '_, P>,
    words: &[Word<'_>],
    uses: &mut Vec<PayloadId>,
) -> Result<(), CheckError<'data>> {
    let mut addresses = Vec::new();
    addresses
        .try_reserve_exact(words.len())
        .map_err(|_| Fault::OutOfMemory.of_file())?;
    for word in words {
        let address = word.address;
        let holder = around.directory.read(around.platform, |listings| {
            listings.iter().find_map(|listing| {
                let placed = listing
                    .regions
                    .iter()
                    .find(|placed| placed.region.contains(address))?;
                Some((listing.id, placed.access))
            })
        });
        let is_code =
            around.base.text.contains(&address) || matches!(holder, Some((_, Access::ReadExecute)));
        let mut bytes = [0; 8];
        if is_code || around.platform.read(address, &mut bytes).is_err() {
            return Err(Fault::WordAddress { address }.of_file());
        }
        if let Some((id, _)) = holder {
            note_use(uses, id).map_err(Fault::of_file)?;
        }
        addresses.push(address);
    }
    addresses.sort_unstable();
    if addresses
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a == b))
    {
        return Err(Fault::RecordOverlap.of_file());
    }
    Ok(())
}

fn listing<'data, P: Platform>(
    around: &Surroundings<'_, '_, P>,
    view: &View<'data>,
    image: &Image,
    addresses: &[Option<u64>],
    records: &[Record<'_>],
    id: PayloadId,
    name: &[u8],
) -> Result<Listing, LoadError<'data>> {
    let mut replacing = Vec::new();
    replacing
        .try_reserve_exact(records.len())
        .map_err(|_| OutOfMemory)?;
    replacing.extend(
        records
            .iter()
            .filter_map(|record| match record.replacement {
                Replacement::Jump(address) => Some(address),
                Replacement::Nops(_) => None,
            }),
    );
    replacing.sort_unstable();
    let mut listing = Listing {
        id,
        payload: copy(name)?,
        names: Vec::new(),
        symbols: Vec::new(),
        new: Vec::new(),
        exceptions: Vec::new(),
        bugs: Vec::new(),
        regions: Vec::new(),
    };
    for (symbol, address) in view.symbols.iter().zip(addresses) {
        let Some(address) = address.filter(|_| sections::is_registered(view, symbol)) else {
            continue;
        };
        let novelty = if replacing.binary_search(&address).is_ok() {
            Novelty::Replaces
        } else {
            Novelty::New
        };
        if novelty == Novelty::New && is_taken(around, symbol.name) {
            return Err(Fault::SymbolTaken.of_file().about(symbol.name).into());
        }
        // Labels inside code are left out, because they would hide the function that a fault is in.
        let is_named = symbol.kind == STT_FUNC || !image.is_code(address, 1);
        if novelty == Novelty::Replaces || is_named || symbol.size > 0 {
            listing.symbols.try_reserve(1).map_err(|_| OutOfMemory)?;
            let stored = Name::store(&mut listing.names, symbol.name)?;
            listing.symbols.push(PayloadSymbol {
                name: stored,
                address,
                size: symbol.size,
                novelty,
            });
        }
    }
    listing.index()?;
    Ok(listing)
}

fn is_taken<P: Platform>(around: &Surroundings<'_, '_, P>, name: &str) -> bool {
    around.base.symbols.lookup(name) != Lookup::Missing
        || around.directory.read(around.platform, |listings| {
            listings
                .iter()
                .any(|listing| listing.new_symbol(name).is_some())
        })
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())
        .map_err(|_| OutOfMemory)?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

fn payload<'data>(
    view: &View<'data>,
    facts: &Facts<'data>,
    image: &Image,
    id: PayloadId,
    name: &[u8],
) -> Result<Payload, LoadError<'data>> {
    let funcs = view.named(facts.profile.prefix, FUNCS);
    let writable = view
        .numbered()
        .filter(|(_, section)| place::access(section) == Access::ReadWrite)
        .filter(|(_, section)| section.is_allocated())
        // Records may lie in a writable section, but the runtime does not write to them.
        .filter(|(id, _)| funcs.map(|(funcs, _)| funcs) != Some(*id));
    Ok(Payload {
        id,
        name: copy(name)?,
        profile: facts.profile,
        build_id: BuildId::new(facts.notes.build_id),
        depends: BuildId::new(facts.notes.depends),
        base: facts.notes.base.map(BuildId::new),
        regions: Vec::new(),
        patches: Vec::new(),
        words: Vec::new(),
        names: Vec::new(),
        records_address: funcs
            .filter(|(_, section)| section.kind != SHT_NOBITS)
            .and_then(|(funcs, _)| image.address(funcs))
            .unwrap_or(0),
        hooks: Hooks::default(),
        metadata: copy(facts.metadata)?,
        writable_bytes: writable.map(|(_, section)| section.size).sum(),
        uses: Vec::new(),
        state: PayloadState::Checked,
        rc: 0,
        freshness: Freshness::Fresh,
    })
}

fn keep_patches(
    payload: &mut Payload,
    records: &[Record<'_>],
    words: &[Word<'_>],
) -> Result<(), OutOfMemory> {
    payload
        .patches
        .try_reserve_exact(records.len())
        .map_err(|_| OutOfMemory)?;
    payload
        .words
        .try_reserve_exact(words.len())
        .map_err(|_| OutOfMemory)?;
    for record in records {
        let name = Name::store(&mut payload.names, record.name)?;
        payload.patches.push(Patch::new(record, name));
    }
    for word in words {
        let name = Name::store(&mut payload.names, word.name)?;
        payload.words.push(WordPatch::new(word, name));
    }
    Ok(())
}

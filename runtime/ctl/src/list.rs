//! Reads the list of payloads, which others may change while it is read.
//!
//! The kernel stamps the list with a version. The rules are those of the 2016 library: a version
//! that differs from the first page's starts the listing again, more than three times is `-EBUSY`;
//! a batch that is too big is halved, and so is one whose names and metadata exceed a frame. A page
//! that fails because the list shrank or grew under it is such a change too, so the version is
//! looked at before the error is believed.

use xsplice_abi::Errno;
use xsplice_abi::channel::AREA_BYTES_MAX;
use xsplice_abi::hypercall::{List, OP_LIST, Operation, Status as WireStatus};
use xsplice_abi::limits::{LIST_ENTRIES_MAX, NAME_BYTES_MAX};
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

use crate::area::{Area, Buffer};
use crate::calls::{State, Status};
use crate::error::CtlError;
use crate::request::Request;
use crate::transport::Transport;

/// How often a listing starts again before it gives up.
const RESTARTS_MAX: u32 = 3;

/// One payload in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// State and last result.
    pub status: Status,
    /// What its `.modinfo` says, `key=value` each.
    pub metadata: Vec<String>,
}

/// All payloads, in the kernel's order.
///
/// # Errors
/// [`CtlError::ListChanging`], [`CtlError::Call`], [`CtlError::Nonsense`], or what the transport
/// says.
pub fn list(transport: &mut dyn Transport) -> Result<Vec<Entry>, CtlError> {
    let mut batch = LIST_ENTRIES_MAX;
    let mut restarts = 0;
    loop {
        if let Some(entries) = attempt(transport, &mut batch)? {
            return Ok(entries);
        }
        if restarts == RESTARTS_MAX {
            return Err(CtlError::ListChanging { restarts });
        }
        restarts += 1;
    }
}

/// How much there is to list, at one version.
struct Sizes {
    version: u32,
    count: u32,
    names_bytes: u32,
    metadata_bytes: u32,
}

/// One pass over the list; `None` when it changed meanwhile.
fn attempt(transport: &mut dyn Transport, batch: &mut u32) -> Result<Option<Vec<Entry>>, CtlError> {
    let sizes = probe(transport)?;
    let mut entries = Vec::new();
    let mut done = 0;
    while done < sizes.count {
        let asked = (*batch).min(sizes.count - done);
        let rooms = Rooms::new(&sizes, asked)?;
        let page = match page(transport, &rooms, done, asked)? {
            Ok(page) => page,
            Err(Errno::E2BIG) if asked > 1 => {
                *batch = asked / 2;
                continue;
            }
            Err(Errno::ENOBUFS) if asked > 1 && rooms.fit == Fit::OneFrame => {
                *batch = asked / 2;
                continue;
            }
            Err(errno) if probe(transport)?.version == sizes.version => {
                return Err(CtlError::Call {
                    what: Request::List,
                    errno,
                });
            }
            Err(_) => return Ok(None),
        };
        if page.version != sizes.version {
            return Ok(None);
        }
        let filled = u32::try_from(page.entries.len()).unwrap_or(u32::MAX);
        if filled == 0 || filled > asked || page.remaining != sizes.count - done - filled {
            return Err(CtlError::Nonsense {
                what: "a page of the list does not fit its count",
            });
        }
        done += filled;
        entries.extend(page.entries);
    }
    Ok(Some(entries))
}

/// Asks for the sizes alone.
fn probe(transport: &mut dyn Transport) -> Result<Sizes, CtlError> {
    let mut operation = Operation::with(OP_LIST, &List::default());
    let result = transport.sysctl(&mut operation, &mut Area::new().into_bytes())?;
    if let Some(errno) = Errno::from_return(result) {
        return Err(CtlError::Call {
            what: Request::List,
            errno,
        });
    }
    let list = operation.read::<List>();
    Ok(Sizes {
        version: list.version.get(),
        count: list.nr.get(),
        names_bytes: list.name_total_size.get(),
        metadata_bytes: list.metadata_total_size.get(),
    })
}

struct Page {
    version: u32,
    remaining: u32,
    entries: Vec<Entry>,
}

/// How the buffers of a page are sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// All names and metadata there are.
    Everything,
    /// As much as one frame holds.
    OneFrame,
}

/// Sizes of a page's buffers for names and metadata, in bytes.
struct Rooms {
    names_bytes: usize,
    metadata_bytes: usize,
    fit: Fit,
}

impl Rooms {
    /// For one entry, a frame always has room: it holds a payload of the largest size.
    fn new(sizes: &Sizes, asked: u32) -> Result<Rooms, CtlError> {
        let asked = in_memory(asked)?;
        let entry_bytes = size_of::<WireStatus>() + 2 * size_of::<U32>();
        let fixed = asked * entry_bytes + Area::unused_bytes(Buffers::COUNT);
        let all_names = in_memory(sizes.names_bytes)?;
        let names_bytes = all_names.min(asked * NAME_BYTES_MAX);
        let left = AREA_BYTES_MAX.saturating_sub(fixed + names_bytes);
        let all_metadata = usize::try_from(sizes.metadata_bytes).unwrap_or(usize::MAX);
        let metadata_bytes = all_metadata.min(left);
        let fit = if (names_bytes, metadata_bytes) == (all_names, all_metadata) {
            Fit::Everything
        } else {
            Fit::OneFrame
        };
        Ok(Rooms {
            names_bytes,
            metadata_bytes,
            fit,
        })
    }
}

/// Asks for `asked` entries from number `first` on. The inner error is the kernel's.
fn page(
    transport: &mut dyn Transport,
    rooms: &Rooms,
    first: u32,
    asked: u32,
) -> Result<Result<Page, Errno>, CtlError> {
    let count = in_memory(asked)?;
    let in_32_bits = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut area = Area::new();
    let buffers = Buffers {
        statuses: area.room(count * size_of::<WireStatus>()),
        name_lengths: area.room(count * size_of::<U32>()),
        metadata_lengths: area.room(count * size_of::<U32>()),
        names: area.room(rooms.names_bytes),
        metadata: area.room(rooms.metadata_bytes),
    };
    let argument = List {
        idx: U32::new(first),
        nr: U32::new(asked),
        name_total_size: U32::new(in_32_bits(rooms.names_bytes)),
        metadata_total_size: U32::new(in_32_bits(rooms.metadata_bytes)),
        status_handle: buffers.statuses.handle(),
        name_handle: buffers.names.handle(),
        len_handle: buffers.name_lengths.handle(),
        metadata_handle: buffers.metadata.handle(),
        metadata_len_handle: buffers.metadata_lengths.handle(),
        ..List::default()
    };
    let mut operation = Operation::with(OP_LIST, &argument);
    let mut bytes = area.into_bytes();
    let result = transport.sysctl(&mut operation, &mut bytes)?;
    if let Some(errno) = Errno::from_return(result) {
        return Ok(Err(errno));
    }
    let list = operation.read::<List>();
    let filled = usize::try_from(result).unwrap_or(usize::MAX);
    if filled > count {
        return Err(CtlError::Nonsense {
            what: "more entries in a page of the list than were asked for",
        });
    }
    Ok(Ok(Page {
        version: list.version.get(),
        remaining: list.nr.get(),
        entries: buffers.entries(&bytes, filled)?,
    }))
}

/// Where the arrays of a page lie in the area.
struct Buffers {
    statuses: Buffer,
    name_lengths: Buffer,
    metadata_lengths: Buffer,
    names: Buffer,
    metadata: Buffer,
}

impl Buffers {
    const COUNT: usize = 5;

    fn entries(&self, area: &[u8], filled: usize) -> Result<Vec<Entry>, CtlError> {
        let mut statuses = array::<WireStatus>(self.statuses.of(area)?)?.iter();
        let mut names = Pieces::new(self.name_lengths.of(area)?, self.names.of(area)?)?;
        let mut metadata = Pieces::new(self.metadata_lengths.of(area)?, self.metadata.of(area)?)?;
        (0..filled)
            .map(|_| {
                let status = statuses.next().ok_or(TOO_SHORT)?;
                Ok(Entry {
                    name: text(names.next()?.split(|byte| *byte == 0).next()),
                    status: Status {
                        state: State::from_number(status.state.get()),
                        rc: status.rc.get(),
                    },
                    metadata: metadata
                        .next()?
                        .split(|byte| *byte == 0)
                        .filter(|part| !part.is_empty())
                        .map(|part| text(Some(part)))
                        .collect(),
                })
            })
            .collect()
    }
}

/// Strings stored one after the other, with their lengths in a separate array.
struct Pieces<'a> {
    lengths: std::slice::Iter<'a, U32>,
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    fn new(lengths: &'a [u8], bytes: &'a [u8]) -> Result<Pieces<'a>, CtlError> {
        Ok(Pieces {
            lengths: array::<U32>(lengths)?.iter(),
            rest: bytes,
        })
    }

    fn next(&mut self) -> Result<&'a [u8], CtlError> {
        let length = in_memory(self.lengths.next().ok_or(TOO_SHORT)?.get())?;
        let (piece, rest) = self.rest.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(piece)
    }
}

const TOO_SHORT: CtlError = CtlError::Nonsense {
    what: "the lengths in the list exceed its buffers",
};

fn array<T: FromBytes + zerocopy::Immutable + zerocopy::Unaligned>(
    bytes: &[u8],
) -> Result<&[T], CtlError> {
    <[T]>::ref_from_bytes(bytes).map_err(|_| TOO_SHORT)
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// A size from the kernel; the frame's limit refuses what is too much.
fn in_memory(size: u32) -> Result<usize, CtlError> {
    usize::try_from(size)
        .ok()
        .filter(|size| *size <= AREA_BYTES_MAX)
        .ok_or(CtlError::Nonsense {
            what: "the list is larger than a frame",
        })
}

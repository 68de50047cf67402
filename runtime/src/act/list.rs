//! LIST: names, states and metadata of the loaded payloads, a batch at a time.
//!
//! The caller asks for sizes with `nr` 0, allocates buffers, and asks for batches from `idx` on.
//! When the version differs from that of the first answer, it has to start again.

use xsplice_abi::errno::Errno;
use xsplice_abi::hypercall::{List, Status};
use xsplice_abi::limits::LIST_ENTRIES_MAX;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{I32, U32};

use crate::act::hypercall::buffer;
use crate::payload::Payload;
use crate::payload::stack::Stack;

/// One of the caller's arrays, filled from its start.
struct Array {
    next: u64,
    end: u64,
}

impl Array {
    fn new(area: &[u8], handle: u64, bytes: u64) -> Result<Array, Errno> {
        buffer(area, handle, bytes).map_err(|_| Errno::EINVAL)?;
        Ok(Array {
            next: handle,
            end: handle.saturating_add(bytes),
        })
    }

    /// Appends `bytes`.
    fn push(&mut self, area: &mut [u8], bytes: &[u8]) -> Result<(), Errno> {
        let length = u64::try_from(bytes.len()).map_err(|_| Errno::ENOBUFS)?;
        let end = self.next.checked_add(length).ok_or(Errno::ENOBUFS)?;
        if end > self.end {
            return Err(Errno::ENOBUFS);
        }
        let start = usize::try_from(self.next).map_err(|_| Errno::EFAULT)?;
        area.get_mut(start..)
            .and_then(|tail| tail.get_mut(..bytes.len()))
            .ok_or(Errno::EFAULT)?
            .copy_from_slice(bytes);
        self.next = end;
        Ok(())
    }
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn total(payloads: &[Payload], part: impl Fn(&Payload) -> &[u8]) -> U32 {
    let sizes = payloads.iter().map(|payload| size(part(payload)));
    U32::new(sizes.fold(0, u32::saturating_add))
}

/// Fills the caller's arrays; returns how many entries were filled.
///
/// # Errors
/// -E2BIG for too large a batch; -EINVAL for a padding, an index that is out of range and arrays
/// outside the area; -ENOBUFS when names or metadata do not fit. An empty list has no index that is
/// out of range, as in Xen (`livepatch_list`).
pub fn list(stack: &Stack, list: &mut List, area: &mut [u8]) -> Result<i32, Errno> {
    let wanted = list.nr.get();
    if wanted > LIST_ENTRIES_MAX {
        return Err(Errno::E2BIG);
    }
    if list.pad != U32::ZERO {
        return Err(Errno::EINVAL);
    }
    let count = u32::try_from(stack.payloads.len()).unwrap_or(u32::MAX);
    let first = list.idx.get();
    if count > 0 && first >= count {
        return Err(Errno::EINVAL);
    }
    let mut filled = 0_u32;
    if wanted > 0 {
        let array = |handle: u64, bytes: u64| Array::new(area, handle, bytes);
        let entries = |bytes: u64| u64::from(wanted) * bytes;
        let mut statuses = array(list.status_handle.get(), entries(8))?;
        let mut lengths = array(list.len_handle.get(), entries(4))?;
        let mut metadata_lengths = array(list.metadata_len_handle.get(), entries(4))?;
        let mut names = array(list.name_handle.get(), list.name_total_size.get().into())?;
        let metadata_bytes = list.metadata_total_size.get().into();
        let mut metadata = array(list.metadata_handle.get(), metadata_bytes)?;
        let skipped = usize::try_from(first).unwrap_or(usize::MAX);
        let batch = usize::try_from(wanted).unwrap_or(usize::MAX);
        for payload in stack.payloads.iter().skip(skipped).take(batch) {
            let status = Status {
                state: U32::new(payload.state.number()),
                rc: I32::new(payload.rc),
            };
            statuses.push(area, status.as_bytes())?;
            lengths.push(area, &size(&payload.name).to_le_bytes())?;
            metadata_lengths.push(area, &size(&payload.metadata).to_le_bytes())?;
            names.push(area, &payload.name)?;
            metadata.push(area, &payload.metadata)?;
            filled += 1;
        }
    }
    list.name_total_size = total(&stack.payloads, |payload| &payload.name);
    list.metadata_total_size = total(&stack.payloads, |payload| &payload.metadata);
    list.version = U32::new(stack.version);
    let remaining = if wanted == 0 {
        count
    } else {
        count.saturating_sub(first).saturating_sub(filled)
    };
    list.nr = U32::new(remaining);
    i32::try_from(filled).map_err(|_| Errno::ERANGE)
}

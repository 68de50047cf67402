//! Pages for payload regions: one pool, behind the payload window page for page, outside the
//! direct map, so that a region has exactly one mapping.

use spin::Mutex;

use crate::memory::paging::{self, Access, PAGE, PAYLOAD_WINDOW, PAYLOAD_WINDOW_BYTES};

const PAGES: usize = (PAYLOAD_WINDOW_BYTES / PAGE) as usize;
/// An unmapped page behind each region.
const GUARD: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Given out, and mapped.
    Mapped,
    /// Given out, not mapped: behind a region, or of a region that waits for its release.
    Unmapped,
}

struct Pool {
    physical: u64,
    states: [State; PAGES],
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    physical: 0,
    states: [State::Free; PAGES],
});

/// Takes over the memory behind the window, which starts at this physical address.
pub(crate) fn init(physical: u64) {
    POOL.lock().physical = physical;
}

/// Maps a region of `pages` pages, readable and nothing else. `None` when there is no room.
pub(crate) fn allocate(pages: usize) -> Option<u64> {
    let mut pool = POOL.lock();
    let needed = pages.checked_add(GUARD)?;
    let mut run = 0;
    let end = pool.states.iter().position(|state| {
        run = if *state == State::Free { run + 1 } else { 0 };
        run == needed
    })? + 1;
    let start = end - needed;
    for index in start..start + pages {
        let offset = index as u64 * PAGE;
        paging::map_payload(
            PAYLOAD_WINDOW + offset,
            pool.physical + offset,
            Access::Read,
        );
        pool.states[index] = State::Mapped;
    }
    pool.states[start + pages] = State::Unmapped;
    Some(PAYLOAD_WINDOW + start as u64 * PAGE)
}

/// Whether all of `address..address + bytes` is mapped.
pub(crate) fn is_mapped(address: u64, bytes: u64) -> bool {
    let Some(offset) = address.checked_sub(PAYLOAD_WINDOW) else {
        return false;
    };
    let Some(end) = offset
        .checked_add(bytes)
        .filter(|&end| end <= PAYLOAD_WINDOW_BYTES)
    else {
        return false;
    };
    let pool = POOL.lock();
    (offset / PAGE..end.div_ceil(PAGE)).all(|index| pool.states[index as usize] == State::Mapped)
}

/// Changes what a region of `pages` mapped pages allows.
pub(crate) fn protect(address: u64, pages: usize, access: Access) {
    for index in 0..pages {
        paging::protect_payload(address + index as u64 * PAGE, access);
    }
}

/// Takes a region out of the page tables; its pages stay taken.
pub(crate) fn unmap(address: u64, pages: usize) {
    let mut pool = POOL.lock();
    let first = first_page(address);
    for index in first..first + pages {
        paging::unmap_payload(PAYLOAD_WINDOW + index as u64 * PAGE);
        pool.states[index] = State::Unmapped;
    }
}

/// Gives an unmapped region's pages back.
pub(crate) fn release(address: u64, pages: usize) {
    let mut pool = POOL.lock();
    let first = first_page(address);
    for state in &mut pool.states[first..first + pages + GUARD] {
        assert_eq!(
            *state,
            State::Unmapped,
            "a region is unmapped before its release"
        );
        *state = State::Free;
    }
}

/// How many pages are mapped, and how many are taken altogether.
pub(crate) fn used() -> (usize, usize) {
    let pool = POOL.lock();
    let count = |wanted| pool.states.iter().filter(|&&state| state == wanted).count();
    let mapped = count(State::Mapped);
    (mapped, mapped + count(State::Unmapped))
}

fn first_page(address: u64) -> usize {
    ((address - PAYLOAD_WINDOW) / PAGE) as usize
}

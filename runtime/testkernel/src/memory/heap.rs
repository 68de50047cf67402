//! The kernel's heap: one first-fit list behind a lock.
//!
//! Interrupt handlers do not allocate, so the lock needs no masking.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use linked_list_allocator::Heap;
use spin::Mutex;

struct KernelHeap(Mutex<Heap>);

/// How many allocations there are up to the one that a test wants to fail; 0 for none.
static FAILS_AT: AtomicU32 = AtomicU32::new(0);

/// Has the `nth` allocation from now on fail, or none for 0. Returns how many were still to come up
/// to the one that was to fail before.
pub(crate) fn fail_at(nth: u32) -> u32 {
    FAILS_AT.swap(nth, Ordering::Relaxed)
}

fn has_to_fail() -> bool {
    let next = |left: u32| left.checked_sub(1);
    FAILS_AT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) == Ok(1)
}

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(Mutex::new(Heap::empty()));

// SAFETY: both functions pass on what `Heap` guarantees; the lock makes each call exclusive.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if has_to_fail() {
            return core::ptr::null_mut();
        }
        self.0
            .lock()
            .allocate_first_fit(layout)
            .map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        let Some(address) = NonNull::new(address) else {
            return;
        };
        // SAFETY: the caller promises that `address` came from `alloc` with this layout.
        unsafe { self.0.lock().deallocate(address, layout) };
    }
}

/// Gives the heap its memory. Called once, before the first allocation.
pub(crate) fn init(start: *mut u8, bytes: usize) {
    // SAFETY: boot hands over memory that is mapped writable for good and used by nothing else.
    unsafe { HEAP.0.lock().init(start, bytes) };
}

/// Bytes in use.
pub(crate) fn used_bytes() -> usize {
    HEAP.0.lock().used()
}

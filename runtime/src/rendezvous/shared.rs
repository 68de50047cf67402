//! The shared words in memory: one implementation of [`Memory`], over whatever atomics there are.
//!
//! A running system has the processor's. The tests have a model checker's below the same code, so
//! that an order which is lost here is found there.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::rendezvous::cpu::CpuId;
use crate::rendezvous::words::{Cell, Memory};

/// An atomic 64-bit word: the processor's, or that of a model checker which stands in for it.
pub trait Atomic {
    /// Holds `value`.
    fn holding(value: u64) -> Self;
    /// Reads.
    fn load(&self, order: Ordering) -> u64;
    /// Writes.
    fn store(&self, value: u64, order: Ordering);
    /// Writes and returns what was there.
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// Writes `new` if `current` is there.
    ///
    /// # Errors
    /// The value that was found.
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64>;
}

/// A word over an atomic type that has the methods of [`AtomicU64`]. One text for the processor's
/// atomics and for a model checker's, so that what is checked is what runs.
#[macro_export]
macro_rules! atomic_word {
    ($(#[$attribute:meta])* $visibility:vis struct $word:ident($atomic:ty);) => {
        $(#[$attribute])*
        $visibility struct $word($atomic);

        impl $crate::rendezvous::shared::Atomic for $word {
            #[inline]
            fn holding(value: u64) -> Self {
                $word(<$atomic>::new(value))
            }

            #[inline]
            fn load(&self, order: ::core::sync::atomic::Ordering) -> u64 {
                self.0.load(order)
            }

            #[inline]
            fn store(&self, value: u64, order: ::core::sync::atomic::Ordering) {
                self.0.store(value, order);
            }

            #[inline]
            fn swap(&self, value: u64, order: ::core::sync::atomic::Ordering) -> u64 {
                self.0.swap(value, order)
            }

            #[inline]
            fn compare_exchange(
                &self,
                current: u64,
                new: u64,
                success: ::core::sync::atomic::Ordering,
                failure: ::core::sync::atomic::Ordering,
            ) -> ::core::result::Result<u64, u64> {
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

atomic_word! {
    /// A word of a running system.
    #[derive(Debug)]
    pub struct Word(AtomicU64);
}

/// The shared words of one rendezvous. A running system has them over the processor's atomics;
/// the tests step this code, and no copy of it, over a model checker's.
#[derive(Debug)]
pub struct Words<A = Word> {
    busy: A,
    join: A,
    phase: A,
    settled: A,
    left: A,
    cpus: Vec<CpuWords<A>>,
    /// For a CPU that has no words of its own: nobody asks it for anything.
    beyond: CpuWords<A>,
}

/// Words of one CPU, in a cache line of their own: the fast path of a safe point reads one.
#[derive(Debug)]
#[repr(align(64))]
struct CpuWords<A> {
    request: A,
    joined: A,
    gone: A,
}

impl<A: Atomic> CpuWords<A> {
    fn new() -> CpuWords<A> {
        CpuWords {
            request: A::holding(0),
            joined: A::holding(0),
            gone: A::holding(0),
        }
    }
}

impl<A: Atomic> Words<A> {
    /// Words of an idle rendezvous of the CPUs 0 to `cpus` - 1; `None` without memory.
    #[must_use]
    pub fn new(cpus: usize) -> Option<Words<A>> {
        let mut own = Vec::new();
        own.try_reserve_exact(cpus).ok()?;
        own.resize_with(cpus, CpuWords::new);
        Some(Words {
            busy: A::holding(0),
            join: A::holding(0),
            phase: A::holding(0),
            settled: A::holding(0),
            left: A::holding(0),
            cpus: own,
            beyond: CpuWords::new(),
        })
    }

    fn cell(&self, cell: Cell) -> &A {
        let cpu = |cpu: CpuId| self.cpus.get(cpu.index()).unwrap_or(&self.beyond);
        match cell {
            Cell::Busy => &self.busy,
            Cell::Join => &self.join,
            Cell::Phase => &self.phase,
            Cell::Settled => &self.settled,
            Cell::Left => &self.left,
            Cell::Request(id) => &cpu(id).request,
            Cell::Joined(id) => &cpu(id).joined,
            Cell::Gone(id) => &cpu(id).gone,
        }
    }
}

impl<A: Atomic> Memory for Words<A> {
    fn load(&self, cell: Cell, order: Ordering) -> u64 {
        self.cell(cell).load(order)
    }

    fn store(&self, cell: Cell, value: u64, order: Ordering) {
        self.cell(cell).store(value, order);
    }

    fn swap(&self, cell: Cell, value: u64, order: Ordering) -> u64 {
        self.cell(cell).swap(value, order)
    }

    fn exchange(&self, cell: Cell, current: u64, new: u64, order: Ordering) -> Result<(), u64> {
        self.cell(cell)
            .compare_exchange(current, new, order, Ordering::Relaxed)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

    use super::{Word, Words};
    use crate::rendezvous::cpu::{CPUS_MAX, CpuId};
    use crate::rendezvous::words::{Cell, Memory};

    fn of_cpu(cpu: u16) -> [Cell; 3] {
        let cpu = CpuId(cpu);
        [Cell::Request(cpu), Cell::Joined(cpu), Cell::Gone(cpu)]
    }

    #[test]
    fn every_word_of_every_cpu_is_its_own() {
        let words = Words::<Word>::new(CPUS_MAX).unwrap();
        let last = u16::try_from(CPUS_MAX - 1).unwrap();
        let common = [
            Cell::Busy,
            Cell::Join,
            Cell::Phase,
            Cell::Settled,
            Cell::Left,
        ];
        let cells = || common.into_iter().chain((0..=last).flat_map(of_cpu));
        for (value, cell) in (1..).zip(cells()) {
            words.store(cell, value, Release);
        }
        for (value, cell) in (1..).zip(cells()) {
            assert_eq!(words.load(cell, Acquire), value, "{cell:?}");
        }
        // What is beyond the last CPU is nobody's.
        for cell in of_cpu(last + 1).into_iter().chain(of_cpu(u16::MAX)) {
            assert_eq!(words.load(cell, Acquire), 0, "{cell:?}");
            words.store(cell, 7, Release);
            words.store(cell, 0, Release);
        }
        for (value, cell) in (1..).zip(cells()) {
            assert_eq!(words.load(cell, Acquire), value, "{cell:?}");
        }
    }

    #[test]
    fn a_word_is_exchanged_for_what_is_there_alone() {
        let words = Words::<Word>::new(1).unwrap();
        assert_eq!(words.exchange(Cell::Join, 0, 5, AcqRel), Ok(()));
        assert_eq!(words.exchange(Cell::Join, 0, 6, AcqRel), Err(5));
        assert_eq!(words.swap(Cell::Join, 8, AcqRel), 5);
        assert_eq!(words.load(Cell::Join, Relaxed), 8);
    }
}

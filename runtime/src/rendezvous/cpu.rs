//! CPUs by number, and sets of them.
//!
//! A rendezvous freezes the set of online CPUs, counts those that joined and names those that did
//! not; both need a plain set that is copied without allocating.

use core::fmt;

/// Most CPUs that the runtime can bring together.
pub const CPUS_MAX: usize = 512;

const WORD_BITS: usize = 64;

/// Number of a CPU, dense from 0, below [`CPUS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u16);

impl CpuId {
    /// The number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CPU{}", self.0)
    }
}

/// Whether maskable interrupts are enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interrupts {
    /// It takes them.
    On,
    /// They are held back.
    Off,
}

/// A set of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CpuSet {
    words: [u64; CPUS_MAX / WORD_BITS],
}

impl CpuSet {
    /// No CPU.
    pub const EMPTY: CpuSet = CpuSet {
        words: [0; CPUS_MAX / WORD_BITS],
    };

    /// The CPUs 0 to `count` - 1; those from [`CPUS_MAX`] on are left out.
    #[must_use]
    pub fn first(count: u16) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for cpu in 0..count {
            set.insert(CpuId(cpu));
        }
        set
    }

    /// Adds `cpu`; a number from [`CPUS_MAX`] on is ignored.
    pub fn insert(&mut self, cpu: CpuId) {
        if let Some(word) = self.words.get_mut(cpu.index() / WORD_BITS) {
            *word |= 1 << (cpu.index() % WORD_BITS);
        }
    }

    /// Takes `cpu` out.
    pub fn remove(&mut self, cpu: CpuId) {
        if let Some(word) = self.words.get_mut(cpu.index() / WORD_BITS) {
            *word &= !(1 << (cpu.index() % WORD_BITS));
        }
    }

    /// Whether `cpu` is in the set.
    #[must_use]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.words
            .get(cpu.index() / WORD_BITS)
            .is_some_and(|word| word & (1 << (cpu.index() % WORD_BITS)) != 0)
    }

    /// How many CPUs are in the set; at most [`CPUS_MAX`].
    #[must_use]
    pub fn len(&self) -> u16 {
        self.iter().fold(0, |count, _| count + 1)
    }

    /// Whether no CPU is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        (0..CPUS_MAX)
            .filter_map(|index| u16::try_from(index).ok())
            .map(CpuId)
            .filter(|cpu| self.contains(*cpu))
    }
}

impl fmt::Display for CpuSet {
    /// `CPU1, CPU3`, or `none`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return out.write_str("none");
        }
        for (position, cpu) in self.iter().enumerate() {
            if position > 0 {
                out.write_str(", ")?;
            }
            cpu.fmt(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::{CPUS_MAX, CpuId, CpuSet};
    use alloc::string::ToString;

    #[test]
    fn a_set_holds_what_was_inserted_and_nothing_else() {
        let mut set = CpuSet::first(3);
        set.insert(CpuId(64));
        set.insert(CpuId(u16::MAX));
        set.remove(CpuId(1));
        assert_eq!(set.len(), 3);
        assert_eq!(set.to_string(), "CPU0, CPU2, CPU64");
        assert!(!set.contains(CpuId(1)) && !set.contains(CpuId(u16::MAX)));
        assert_eq!(CpuSet::EMPTY.to_string(), "none");
        assert_eq!(
            usize::from(CpuSet::first(u16::MAX).len()),
            CPUS_MAX,
            "numbers beyond the largest are left out"
        );
    }
}

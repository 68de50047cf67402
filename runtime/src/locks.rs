//! The runtime's locks, and what a debug build checks of them.
//!
//! There are four: the stack of payloads, the frozen set of CPUs, the directory of names and
//! tables (`payload/directory.rs`) and the shadow variables. The README has the table of who may
//! take each, with interrupts in which state, and what may happen inside. A debug build holds every
//! taking against that table and panics where a release build would, some day, wait for itself.

use core::ops::{Deref, DerefMut};
#[cfg(debug_assertions)]
use core::sync::atomic::{AtomicU32, Ordering};

use spin::{Mutex, MutexGuard};

use crate::platform::{Interrupts, Platform};
use crate::rendezvous::Quiesced;

/// Who has a lock; nothing but a debug build asks.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    /// Number of the CPU plus 1; 0 for nobody.
    #[cfg(debug_assertions)]
    cpu: AtomicU32,
}

#[cfg(debug_assertions)]
impl Holder {
    fn number(platform: &impl Platform) -> u32 {
        u32::from(platform.current_cpu().0) + 1
    }

    pub(crate) fn is_this_cpu(&self, platform: &impl Platform) -> bool {
        self.cpu.load(Ordering::Relaxed) == Holder::number(platform)
    }

    fn check_not_this_cpu(&self, platform: &impl Platform) {
        assert!(
            !self.is_this_cpu(platform),
            "{} waits for a lock that it has",
            platform.current_cpu()
        );
    }

    fn take(&self, platform: &impl Platform) {
        self.cpu.store(Holder::number(platform), Ordering::Relaxed);
    }

    fn give_back(&self) {
        self.cpu.store(0, Ordering::Relaxed);
    }
}

#[cfg(not(debug_assertions))]
impl Holder {
    fn check_not_this_cpu(&self, _: &impl Platform) {}

    fn take(&self, _: &impl Platform) {}

    fn give_back(&self) {}
}

impl Holder {
    /// Says that this CPU has the lock while `act` runs, which takes it.
    pub(crate) fn during<T>(&self, platform: &impl Platform, act: impl FnOnce() -> T) -> T {
        self.check_not_this_cpu(platform);
        self.take(platform);
        let result = act();
        self.give_back();
        result
    }

    /// Before a lock is taken that the holder of this one must not wait for.
    pub(crate) fn check_before_waiting(&self, platform: &impl Platform) {
        self.check_not_this_cpu(platform);
    }
}

/// In a debug build: interrupts are as they must be where a lock is taken.
pub(crate) fn check_interrupts(platform: &impl Platform, wanted: Interrupts) {
    debug_assert_eq!(
        platform.interrupts(),
        wanted,
        "interrupts where a lock is taken"
    );
}

/// A lock that one CPU has at a time.
#[derive(Debug, Default)]
pub(crate) struct Lock<T> {
    content: Mutex<T>,
    holder: Holder,
}

/// A lock that this CPU has.
#[derive(Debug)]
pub(crate) struct Guard<'l, T> {
    content: MutexGuard<'l, T>,
    holder: &'l Holder,
}

impl<T> Lock<T> {
    /// A lock that nobody has.
    pub(crate) const fn new(content: T) -> Lock<T> {
        Lock {
            content: Mutex::new(content),
            holder: Holder {
                #[cfg(debug_assertions)]
                cpu: AtomicU32::new(0),
            },
        }
    }

    /// Takes it with interrupts as they are: nothing but a copy may happen inside.
    pub(crate) fn lock_anyhow(&self, platform: &impl Platform) -> Guard<'_, T> {
        self.holder.check_not_this_cpu(platform);
        let content = self.content.lock();
        self.holder.take(platform);
        Guard {
            content,
            holder: &self.holder,
        }
    }

    /// Takes it with interrupts on or off, whichever its table says.
    pub(crate) fn lock(&self, platform: &impl Platform, interrupts: Interrupts) -> Guard<'_, T> {
        check_interrupts(platform, interrupts);
        self.lock_anyhow(platform)
    }

    /// Takes it while every other CPU stands at its safe point, where nobody has it.
    pub(crate) fn lock_quiesced(&self, platform: &impl Platform, _: &Quiesced) -> Guard<'_, T> {
        debug_assert!(
            !self.content.is_locked(),
            "a lock is taken that a CPU at its safe point has"
        );
        self.lock(platform, Interrupts::Off)
    }

    /// Who has it.
    pub(crate) const fn holder(&self) -> &Holder {
        &self.holder
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.content
    }
}

impl<T> Drop for Guard<'_, T> {
    /// Before the lock itself is given back.
    fn drop(&mut self) {
        self.holder.give_back();
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::{Holder, Lock};
    use crate::patch::memory::MemoryPlatform;
    use crate::platform::{Interrupts, Platform};

    fn platform() -> MemoryPlatform {
        MemoryPlatform::new(0..0x1000)
    }

    #[test]
    fn a_lock_is_taken_and_given_back() {
        let (platform, lock) = (platform(), Lock::new(1));
        *lock.lock(&platform, Interrupts::On) += 1;
        let before = platform.interrupts_off();
        assert_eq!(*lock.lock(&platform, Interrupts::Off), 2);
        platform.interrupts_restore(before);
        assert_eq!(*lock.lock_anyhow(&platform), 2);
        assert!(!lock.holder().is_this_cpu(&platform));
    }

    #[test]
    #[should_panic(expected = "CPU0 waits for a lock that it has")]
    fn a_cpu_that_would_wait_for_itself_panics() {
        let (platform, lock) = (platform(), Lock::new(1));
        let _held = lock.lock(&platform, Interrupts::On);
        let _again = lock.lock(&platform, Interrupts::On);
    }

    #[test]
    #[should_panic(expected = "interrupts where a lock is taken")]
    fn a_lock_for_threads_is_not_taken_with_interrupts_off() {
        let (platform, lock) = (platform(), Lock::new(1));
        platform.interrupts_off();
        let _held = lock.lock(&platform, Interrupts::On);
    }

    #[test]
    #[should_panic(expected = "interrupts where a lock is taken")]
    fn a_lock_that_handlers_take_is_not_taken_with_interrupts_on() {
        let (platform, lock) = (platform(), Lock::new(1));
        let _held = lock.lock(&platform, Interrupts::Off);
    }

    #[test]
    #[should_panic(expected = "waits for a lock that it has")]
    fn a_table_is_not_changed_within_a_change() {
        let (platform, holder) = (platform(), Holder::default());
        holder.during(&platform, || holder.during(&platform, || ()));
    }
}

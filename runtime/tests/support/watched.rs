//! The words of a running system, over atomics that loom watches; what an access may lose of its
//! memory order; and how a CPU waits for another one.
//!
//! Waiting is what makes such a search endless: a CPU that looks in vain may do so any number of
//! times, and with two of them loom would try each order in which they do. A look in vain changes
//! nothing, so an execution that has one is like the one without it, and is not followed: a CPU
//! lets the others run before it looks, and an execution in which it is its turn again and there is
//! still nothing for it is only run to its end ([`WatchedWords::wait_while`]).

use core::sync::atomic::{self, Ordering};

use loom::sync::atomic::AtomicU64;
use loom::thread;
use xsplice_runtime::atomic_word;
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};
use xsplice_runtime::rendezvous::shared::Words;
use xsplice_runtime::rendezvous::steps::{Effects, Freezing, Outcome};
use xsplice_runtime::rendezvous::words::{Cell, Memory, Phase, Stage};

atomic_word! {
    /// A word that loom watches.
    struct Watched(AtomicU64);
}

/// One kind of access of the protocol: to which word, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ClaimBusy,
    GiveBusyBack,
    ReadJoin,
    OpenJoin,
    ExchangeJoin,
    ReadPhase,
    StorePhase(Stage),
    ExchangePhase(Stage),
    ExchangeSettled,
    ExchangeLeft,
    AskACpu,
    ClearTheRequest,
    /// One that is relaxed already.
    Other,
}

impl Access {
    fn load(cell: Cell) -> Access {
        match cell {
            Cell::Join => Access::ReadJoin,
            Cell::Phase => Access::ReadPhase,
            _ => Access::Other,
        }
    }

    fn store(cell: Cell, value: u64) -> Access {
        match cell {
            Cell::Busy => Access::GiveBusyBack,
            Cell::Join => Access::OpenJoin,
            Cell::Phase => Access::StorePhase(Phase::from_word(value).stage),
            Cell::Request(_) => Access::AskACpu,
            _ => Access::Other,
        }
    }

    fn exchange(cell: Cell, new: u64) -> Access {
        match cell {
            Cell::Busy => Access::ClaimBusy,
            Cell::Join => Access::ExchangeJoin,
            Cell::Phase => Access::ExchangePhase(Phase::from_word(new).stage),
            Cell::Settled => Access::ExchangeSettled,
            Cell::Left => Access::ExchangeLeft,
            _ => Access::Other,
        }
    }
}

/// What an access loses of its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loses {
    Acquire,
    Release,
}

impl Loses {
    fn of(self, order: Ordering) -> Ordering {
        match (self, order) {
            (Loses::Acquire, Ordering::AcqRel) => Ordering::Release,
            (Loses::Release, Ordering::AcqRel) => Ordering::Acquire,
            (Loses::Acquire, Ordering::Acquire) | (Loses::Release, Ordering::Release) => {
                Ordering::Relaxed
            }
            (_, other) => other,
        }
    }
}

/// How a CPU is asked to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// As the protocol does.
    ByStore,
    /// By a swap, which reads what stands right before it, so that a later request comes after the
    /// clearing of the first one. Loom leaves a store and a swap unordered, and a CPU could look
    /// away from the newer one for ever. One CPU alone asks, so that it goes on with nobody else's
    /// writes by this.
    BySwap,
}

/// The words, and what stands in them outside of the model.
pub(crate) struct WatchedWords {
    words: Words<Watched>,
    newest: Vec<atomic::AtomicU64>,
    weak: &'static [(Access, Loses)],
    asking: Asking,
    /// Set: this execution is like another one, and is not followed any more.
    is_given_up: atomic::AtomicBool,
    /// Every CPU touches it in an execution that is given up. So loom sees that it matters whose
    /// turn it was where a CPU looked in vain, and tries each of the others there.
    turn: AtomicU64,
}

impl WatchedWords {
    pub(crate) fn new(cpus: u16, weak: &'static [(Access, Loses)], asking: Asking) -> WatchedWords {
        let cpus = usize::from(cpus);
        WatchedWords {
            words: Words::new(cpus).expect("there is memory"),
            newest: (0..5 + cpus).map(|_| atomic::AtomicU64::new(0)).collect(),
            weak,
            asking,
            is_given_up: atomic::AtomicBool::new(false),
            turn: AtomicU64::new(0),
        }
    }

    /// Lets the others run while there is nothing to look for.
    pub(crate) fn wait_while(&self, is_vain: impl Fn() -> bool) {
        if is_vain() {
            thread::yield_now();
        }
        while is_vain() {
            self.give_up();
            thread::yield_now();
        }
    }

    /// What happens from here on is like what happens in another execution.
    pub(crate) fn give_up(&self) {
        if !self.is_given_up.swap(true, Ordering::Relaxed) {
            loom::skip_branch();
        }
        self.take_turn();
    }

    /// Whether this execution is like another one.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }

    fn take_turn(&self) {
        if self.is_given_up() {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `None` for the notes of who joined and left: nothing here reads them, and leaving them out
    /// leaves out the interleavings around them.
    fn index(cell: Cell) -> Option<usize> {
        match cell {
            Cell::Busy => Some(0),
            Cell::Join => Some(1),
            Cell::Phase => Some(2),
            Cell::Settled => Some(3),
            Cell::Left => Some(4),
            Cell::Request(cpu) => Some(5 + cpu.index()),
            Cell::Joined(_) | Cell::Gone(_) => None,
        }
    }

    pub(crate) fn newest(&self, cell: Cell) -> u64 {
        let index = WatchedWords::index(cell).expect("the steps never read the notes");
        self.newest[index].load(Ordering::Relaxed)
    }

    fn order(&self, access: Access, order: Ordering) -> Ordering {
        let weak = self.weak.iter();
        weak.filter(|(weak, _)| *weak == access)
            .fold(order, |order, (_, loses)| loses.of(order))
    }
}

impl WatchedWords {
    fn wrote(&self, cell: Cell, value: u64) {
        if let Some(index) = WatchedWords::index(cell) {
            self.newest[index].store(value, Ordering::Relaxed);
        }
    }
}

impl Memory for WatchedWords {
    fn load(&self, cell: Cell, order: Ordering) -> u64 {
        self.take_turn();
        let order = self.order(Access::load(cell), order);
        self.words.load(cell, order)
    }

    fn store(&self, cell: Cell, value: u64, order: Ordering) {
        if WatchedWords::index(cell).is_none() {
            return;
        }
        self.take_turn();
        let order = self.order(Access::store(cell, value), order);
        if self.asking == Asking::BySwap && matches!(cell, Cell::Request(_)) {
            self.words.swap(cell, value, order);
        } else {
            self.words.store(cell, value, order);
        }
        self.wrote(cell, value);
    }

    fn swap(&self, cell: Cell, value: u64, order: Ordering) -> u64 {
        self.take_turn();
        let order = self.order(Access::ClearTheRequest, order);
        let found = self.words.swap(cell, value, order);
        self.wrote(cell, value);
        found
    }

    fn exchange(&self, cell: Cell, current: u64, new: u64, order: Ordering) -> Result<(), u64> {
        self.take_turn();
        let order = self.order(Access::exchange(cell, new), order);
        self.words.exchange(cell, current, new, order)?;
        self.wrote(cell, new);
        Ok(())
    }
}

/// The words as they stand, for a CPU that waits: whether there is anything to look for.
pub(crate) struct Newest<'s>(pub(crate) &'s WatchedWords);

impl Memory for Newest<'_> {
    fn load(&self, cell: Cell, _: Ordering) -> u64 {
        self.0.newest(cell)
    }

    fn store(&self, cell: Cell, _: u64, _: Ordering) {
        unreachable!("a CPU that waits writes {cell:?}");
    }

    fn swap(&self, cell: Cell, _: u64, _: Ordering) -> u64 {
        unreachable!("a CPU that waits writes {cell:?}");
    }

    fn exchange(&self, cell: Cell, _: u64, _: u64, _: Ordering) -> Result<(), u64> {
        unreachable!("a CPU that waits writes {cell:?}");
    }
}

/// What a CPU that waits may ask besides the words: the time.
pub(crate) struct Waiting {
    pub(crate) cpu: CpuId,
    pub(crate) may_be_late: bool,
}

impl Effects for Waiting {
    fn cpu(&self) -> CpuId {
        self.cpu
    }

    fn is_expired(&mut self) -> bool {
        self.may_be_late
    }

    fn freeze(&mut self) -> Freezing {
        unreachable!("a CPU that waits does nothing");
    }

    fn online(&self) -> CpuSet {
        unreachable!("a CPU that waits does nothing");
    }

    fn thaw(&mut self) {
        unreachable!("a CPU that waits does nothing");
    }

    fn kick(&mut self) {
        unreachable!("a CPU that waits does nothing");
    }

    fn interrupts_off(&mut self) {
        unreachable!("a CPU that waits does nothing");
    }

    fn interrupts_on(&mut self) {
        unreachable!("a CPU that waits does nothing");
    }

    fn mask_nmis(&mut self) {
        unreachable!("a CPU that waits does nothing");
    }

    fn unmask_nmis(&mut self) {
        unreachable!("a CPU that waits does nothing");
    }

    fn serialise(&mut self) {
        unreachable!("a CPU that waits does nothing");
    }

    fn act(&mut self, _: &Quiesced) {
        unreachable!("a CPU that waits does nothing");
    }

    fn finish(&mut self, _: Outcome) {
        unreachable!("a CPU that waits does nothing");
    }
}

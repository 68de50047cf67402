//! The words of a running system, over atomics that loom watches, as one CPU after the other reads
//! them; and what an access may lose of its memory order.

use core::sync::atomic::{self, Ordering};
use std::cell;

use loom::sync::atomic::AtomicU64;
use loom::thread;
use xsplice_runtime::atomic_word;
use xsplice_runtime::rendezvous::shared::Words;
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
}

impl WatchedWords {
    pub(crate) fn new(cpus: u16, weak: &'static [(Access, Loses)], asking: Asking) -> WatchedWords {
        let cpus = usize::from(cpus);
        WatchedWords {
            words: Words::new(cpus).expect("there is memory"),
            newest: (0..5 + cpus).map(|_| atomic::AtomicU64::new(0)).collect(),
            weak,
            asking,
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

/// The words of a running system as one CPU reads them: it remembers what it waits for.
pub(crate) struct Seen<'s> {
    words: &'s WatchedWords,
    last: cell::Cell<Option<(Cell, u64)>>,
}

impl<'s> Seen<'s> {
    pub(crate) fn by(words: &'s WatchedWords) -> Seen<'s> {
        Seen {
            words,
            last: cell::Cell::new(None),
        }
    }

    fn wrote(&self, cell: Cell, value: u64) {
        if let Some(index) = WatchedWords::index(cell) {
            self.words.newest[index].store(value, Ordering::Relaxed);
        }
    }

    fn has_read(&self, cell: Cell, value: u64) -> u64 {
        self.last.set(Some((cell, value)));
        value
    }

    /// Lets the others run until there is something new in the word that was read last. To read the
    /// same value of the same write once more changes nothing, so that no execution is lost; what
    /// is old already is read again.
    pub(crate) fn wait(&self) {
        let (cell, value) = self.last.get().expect("a CPU waits for what it has read");
        thread::yield_now();
        while self.words.newest(cell) == value {
            thread::yield_now();
        }
    }
}

impl Memory for Seen<'_> {
    fn load(&self, cell: Cell, order: Ordering) -> u64 {
        let order = self.words.order(Access::load(cell), order);
        let value = self.words.words.load(cell, order);
        self.has_read(cell, value)
    }

    fn store(&self, cell: Cell, value: u64, order: Ordering) {
        if WatchedWords::index(cell).is_none() {
            return;
        }
        let order = self.words.order(Access::store(cell, value), order);
        if self.words.asking == Asking::BySwap && matches!(cell, Cell::Request(_)) {
            self.words.words.swap(cell, value, order);
        } else {
            self.words.words.store(cell, value, order);
        }
        self.wrote(cell, value);
    }

    fn swap(&self, cell: Cell, value: u64, order: Ordering) -> u64 {
        let order = self.words.order(Access::ClearTheRequest, order);
        let found = self.words.words.swap(cell, value, order);
        self.wrote(cell, value);
        self.has_read(cell, found)
    }

    fn exchange(&self, cell: Cell, current: u64, new: u64, order: Ordering) -> Result<(), u64> {
        let order = self.words.order(Access::exchange(cell, new), order);
        match self.words.words.exchange(cell, current, new, order) {
            Ok(()) => {
                self.wrote(cell, new);
                Ok(())
            }
            Err(found) => Err(self.has_read(cell, found)),
        }
    }
}

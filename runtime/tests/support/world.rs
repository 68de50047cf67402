//! What the rendezvous runs on, as a state that can be copied: words, CPUs, what they have asked of
//! the platform; and what must never happen there.

use core::sync::atomic::Ordering;
use std::cell::RefCell;

use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};
use xsplice_runtime::rendezvous::steps::{
    Effects, Freezing, Opening, Outcome, SafePoint, Standing,
};
use xsplice_runtime::rendezvous::words::{Cell, Memory};

pub(crate) const CPUS: usize = 4;

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Doing {
    Running,
    Opening(Opening),
    SafePoint(SafePoint),
}

#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Cpu {
    pub is_online: bool,
    pub doing: Doing,
    pub interrupts_on: bool,
    /// Text was written and the CPU has not serialised since.
    pub is_stale: bool,
    /// Number of the last action that it really joined.
    pub joined: u8,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct World {
    pub common: [u64; 5],
    pub own: [[u64; 3]; CPUS],
    pub cpus: [Cpu; CPUS],
    pub frozen: u8,
    pub frozen_set: u8,
    /// CPUs that have begun to come or go.
    pub changing: u8,
    pub nmis_masked: u8,
    /// CPUs that an NMI waits for.
    pub nmis_held: u8,
    /// How many still arrive.
    pub nmis_to_come: u8,
    pub to_open: u8,
    pub opened: u8,
    pub refused: u8,
    pub acted: u8,
    pub ended: u8,
}

pub(crate) struct Cells(pub RefCell<([u64; 5], [[u64; 3]; CPUS])>);

impl Cells {
    fn with<T>(&self, cell: Cell, change: impl FnOnce(&mut u64) -> T) -> T {
        let mut cells = self.0.borrow_mut();
        let (common, own) = &mut *cells;
        change(match cell {
            Cell::Busy => &mut common[0],
            Cell::Join => &mut common[1],
            Cell::Phase => &mut common[2],
            Cell::Settled => &mut common[3],
            Cell::Left => &mut common[4],
            Cell::Request(cpu) => &mut own[cpu.index()][0],
            Cell::Joined(cpu) => &mut own[cpu.index()][1],
            Cell::Gone(cpu) => &mut own[cpu.index()][2],
        })
    }
}

impl Memory for Cells {
    fn load(&self, cell: Cell, _: Ordering) -> u64 {
        self.with(cell, |value| *value)
    }

    fn store(&self, cell: Cell, value: u64, _: Ordering) {
        self.with(cell, |place| *place = value);
    }

    fn swap(&self, cell: Cell, value: u64, _: Ordering) -> u64 {
        self.with(cell, |place| core::mem::replace(place, value))
    }

    fn exchange(&self, cell: Cell, current: u64, new: u64, _: Ordering) -> Result<(), u64> {
        self.with(cell, |place| {
            if *place == current {
                *place = new;
                Ok(())
            } else {
                Err(*place)
            }
        })
    }
}

/// The world around one step of one CPU.
pub(crate) struct Around<'w> {
    pub world: &'w mut World,
    pub cells: &'w Cells,
    pub cpu: usize,
    pub is_expired: bool,
    pub asked_for_time: bool,
    pub violated: Option<&'static str>,
}

impl Around<'_> {
    fn me(&mut self) -> &mut Cpu {
        &mut self.world.cpus[self.cpu]
    }

    fn violate(&mut self, what: &'static str) {
        self.violated.get_or_insert(what);
    }
}

impl Effects for Around<'_> {
    fn cpu(&self) -> CpuId {
        CpuId(u16::try_from(self.cpu).expect("few CPUs"))
    }

    fn freeze(&mut self) -> Freezing {
        if self.world.changing != 0 {
            return Freezing::Refused;
        }
        self.world.frozen += 1;
        self.world.frozen_set = 0;
        for (bit, cpu) in self.world.cpus.iter().enumerate() {
            if cpu.is_online {
                self.world.frozen_set |= 1 << bit;
            }
        }
        Freezing::Frozen
    }

    fn online(&self) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for cpu in 0..u16::try_from(CPUS).expect("few CPUs") {
            if self.world.frozen_set & (1 << cpu) != 0 {
                set.insert(CpuId(cpu));
            }
        }
        set
    }

    fn thaw(&mut self) {
        match self.world.frozen.checked_sub(1) {
            Some(frozen) => self.world.frozen = frozen,
            None => self.violate("the online set is thawed twice"),
        }
    }

    fn kick(&mut self) {}

    fn is_expired(&mut self) -> bool {
        self.asked_for_time = true;
        self.is_expired
    }

    fn interrupts_off(&mut self) {
        self.me().interrupts_on = false;
    }

    fn interrupts_on(&mut self) {
        if self.me().is_stale {
            self.violate("interrupts are on before the CPU serialised");
        }
        self.me().interrupts_on = true;
    }

    fn mask_nmis(&mut self) {
        if self.world.nmis_masked > 0 {
            self.violate("NMIs are masked while another action has them masked");
        }
        self.world.nmis_masked += 1;
    }

    fn unmask_nmis(&mut self) {
        if self
            .world
            .cpus
            .iter()
            .any(|cpu| cpu.is_online && cpu.is_stale)
        {
            self.violate("NMIs are unmasked before every CPU serialised");
        }
        match self.world.nmis_masked.checked_sub(1) {
            Some(masked) => self.world.nmis_masked = masked,
            None => self.violate("NMIs are unmasked twice"),
        }
        // By CPUs that have all serialised, as was found above.
        self.world.nmis_held = 0;
    }

    fn serialise(&mut self) {
        self.me().is_stale = false;
    }

    fn act(&mut self, _: &Quiesced) {
        if self.world.nmis_masked == 0 {
            self.violate("text is written while NMIs are delivered");
        }
        if self.me().interrupts_on {
            self.violate("text is written while the master takes interrupts");
        }
        let cpu = self.cpu;
        let others = self.world.cpus.iter().enumerate();
        let mut others = others.filter(|(index, other)| *index != cpu && other.is_online);
        let is_quiet = |other: &Cpu| match other.doing {
            Doing::SafePoint(machine) => {
                matches!(machine.standing(), Standing::Quiet(_)) && !other.interrupts_on
            }
            _ => false,
        };
        if !others.all(|(_, other)| is_quiet(other)) {
            self.violate("text is written while another CPU could execute it");
        }
        for other in &mut self.world.cpus {
            other.is_stale = other.is_online;
        }
        self.world.acted += 1;
    }

    fn finish(&mut self, outcome: Outcome) {
        self.world.ended += 1;
        if self.me().is_stale {
            self.violate("the master goes on before it serialised");
        }
        if let Outcome::LateToJoin(generation) = outcome {
            let opened = self.world.opened;
            for (cpu, id) in self.world.cpus.iter().zip(0..) {
                let noted = self.cells.load(Cell::Joined(CpuId(id)), Ordering::Relaxed);
                let is_named = noted != u64::from(generation);
                if cpu.is_online && cpu.joined != opened && !is_named {
                    self.violated
                        .get_or_insert("a CPU that did not come is not named");
                }
            }
        }
    }
}

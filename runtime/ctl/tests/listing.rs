//! The rules of reading a list that changes while it is read.

use std::collections::VecDeque;
use xsplice_abi::Errno;
use xsplice_abi::hypercall::{List, OP_LIST, Operation};
use xsplice_ctl::CtlError;
use xsplice_ctl::calls::State;
use xsplice_ctl::list::{Entry, list};
use xsplice_ctl::transport::Transport;
use zerocopy::byteorder::little_endian::U32;

/// A kernel that has only a list, changes it when told, and keeps a record of what it was asked.
#[derive(Default)]
struct Listing {
    version: u32,
    names: Vec<String>,
    /// Largest batch it takes; 0 takes any.
    batch_max: u32,
    /// Payloads that appear or vanish before the call whose turn it is.
    before_call: VecDeque<Change>,
    /// Number and first index of each page asked for.
    pages: Vec<(u32, u32)>,
}

#[derive(Clone, Copy)]
enum Change {
    None,
    Add,
    Remove,
}

impl Listing {
    fn of(count: usize) -> Listing {
        Listing {
            names: (0..count).map(|n| format!("payload{n}")).collect(),
            ..Listing::default()
        }
    }

    fn change(&mut self) {
        match self.before_call.pop_front().unwrap_or(Change::None) {
            Change::None => return,
            Change::Add => self.names.push("late".to_owned()),
            Change::Remove => drop(self.names.pop()),
        }
        self.version += 1;
    }

    fn fill(&self, list: &mut List, area: &mut [u8]) -> i32 {
        let first = list.idx.get() as usize;
        if self.batch_max != 0 && list.nr.get() > self.batch_max {
            return Errno::E2BIG.negated();
        }
        if list.nr.get() != 0 && first >= self.names.len() {
            return Errno::EINVAL.negated();
        }
        let count = (list.nr.get() as usize).min(self.names.len() - first);
        let (mut name_at, mut metadata_at) = (list.name_handle.get(), list.metadata_handle.get());
        let mut put = |at: u64, bytes: &[u8]| {
            let at = at as usize;
            area[at..at + bytes.len()].copy_from_slice(bytes);
        };
        for (slot, name) in self.names[first..first + count].iter().enumerate() {
            let slot = slot as u64;
            let metadata = format!("name={name}\0abi=xsplice\0");
            put(
                list.status_handle.get() + 8 * slot,
                &[1, 0, 0, 0, 0, 0, 0, 0],
            );
            let length = name.len() as u32 + 1;
            put(list.len_handle.get() + 4 * slot, &length.to_le_bytes());
            put(name_at, format!("{name}\0").as_bytes());
            name_at += u64::from(length);
            let length = metadata.len() as u32;
            put(
                list.metadata_len_handle.get() + 4 * slot,
                &length.to_le_bytes(),
            );
            put(metadata_at, metadata.as_bytes());
            metadata_at += u64::from(length);
        }
        let names: usize = self.names.iter().map(|name| name.len() + 1).sum();
        let metadata: usize = self.names.iter().map(|name| name.len() + 18).sum();
        list.version = U32::new(self.version);
        list.nr = U32::new((self.names.len() - first - count) as u32);
        list.name_total_size = U32::new(names as u32);
        list.metadata_total_size = U32::new(metadata as u32);
        count as i32
    }
}

impl Transport for Listing {
    fn sysctl(&mut self, operation: &mut Operation, area: &mut Vec<u8>) -> Result<i32, CtlError> {
        assert_eq!(operation.cmd.get(), OP_LIST);
        self.change();
        let mut argument = operation.read::<List>();
        if argument.nr.get() != 0 {
            self.pages.push((argument.nr.get(), argument.idx.get()));
        }
        let result = self.fill(&mut argument, area);
        operation.write(&argument);
        Ok(result)
    }

    fn text(&mut self, _: u32, _: &str) -> Result<(i32, String), CtlError> {
        unreachable!("a listing asks for nothing else")
    }
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn an_empty_list_needs_one_call_and_no_page() {
    let mut kernel = Listing::of(0);
    assert_eq!(list(&mut kernel).unwrap(), []);
    assert_eq!(kernel.pages, []);
}

#[test]
fn names_states_and_metadata_come_back_in_the_kernels_order() {
    let entries = list(&mut Listing::of(3)).unwrap();
    assert_eq!(names(&entries), ["payload0", "payload1", "payload2"]);
    assert_eq!(entries[2].metadata, ["name=payload2", "abi=xsplice"]);
    assert_eq!(entries[1].status.state, State::Checked);
}

#[test]
fn more_payloads_than_one_call_takes_are_read_in_pages() {
    let mut kernel = Listing::of(2500);
    let entries = list(&mut kernel).unwrap();
    assert_eq!(entries.len(), 2500);
    assert_eq!(entries[2499].name, "payload2499");
    assert_eq!(kernel.pages, [(1024, 0), (1024, 1024), (452, 2048)]);
}

#[test]
fn a_batch_that_is_too_big_is_halved_and_stays_so() {
    let mut kernel = Listing::of(10);
    kernel.batch_max = 4;
    assert_eq!(list(&mut kernel).unwrap().len(), 10);
    let asked: Vec<u32> = kernel.pages.iter().map(|page| page.0).collect();
    assert_eq!(asked, [10, 5, 2, 2, 2, 2, 2]);
}

#[test]
fn too_big_for_a_single_entry_is_the_kernels_error() {
    struct Never(Listing);
    impl Transport for Never {
        fn sysctl(
            &mut self,
            operation: &mut Operation,
            area: &mut Vec<u8>,
        ) -> Result<i32, CtlError> {
            match operation.read::<List>().nr.get() {
                0 => self.0.sysctl(operation, area),
                _ => Ok(Errno::E2BIG.negated()),
            }
        }
        fn text(&mut self, _: u32, _: &str) -> Result<(i32, String), CtlError> {
            unreachable!("a listing asks for nothing else")
        }
    }
    let error = list(&mut Never(Listing::of(2))).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::E2BIG));
}

#[test]
fn a_change_between_two_calls_starts_the_listing_again() {
    use Change::{Add, None, Remove};
    for change in [Add, Remove] {
        let mut kernel = Listing::of(1500);
        // Probe, first page, then the change before the second.
        kernel.before_call = [None, None, change].into();
        let entries = list(&mut kernel).unwrap();
        assert_eq!(names(&entries), kernel.names);
        assert_eq!(kernel.pages[..2], [(1024, 0), (476, 1024)]);
        assert_eq!(kernel.pages[2].1, 0, "from the start");
    }
}

#[test]
fn a_page_that_fails_because_the_list_shrank_starts_it_again() {
    use Change::{None, Remove};
    let mut kernel = Listing::of(1);
    kernel.before_call = [None, Remove].into();
    assert_eq!(list(&mut kernel).unwrap(), []);
    assert_eq!(kernel.pages, [(1, 0)]);
}

#[test]
fn a_list_that_changed_three_times_is_still_read_and_four_times_is_busy() {
    use Change::{Add, None};
    let mut kernel = Listing::of(5);
    kernel.before_call = [None, Add].repeat(3).into();
    assert_eq!(list(&mut kernel).unwrap().len(), 8);

    let mut kernel = Listing::of(5);
    kernel.before_call = [None, Add].repeat(4).into();
    let error = list(&mut kernel).unwrap_err();
    assert!(
        matches!(error, CtlError::ListChanging { restarts: 3 }),
        "{error}"
    );
    assert_eq!(error.errno(), Some(Errno::EBUSY));
    assert_eq!(error.exit_status(), xsplice_ctl::ExitStatus::Busy);
}

#[test]
fn an_error_without_a_change_is_not_tried_again() {
    struct Refusing(u32);
    impl Transport for Refusing {
        fn sysctl(&mut self, _: &mut Operation, _: &mut Vec<u8>) -> Result<i32, CtlError> {
            self.0 += 1;
            Ok(Errno::EPERM.negated())
        }
        fn text(&mut self, _: u32, _: &str) -> Result<(i32, String), CtlError> {
            unreachable!("a listing asks for nothing else")
        }
    }
    let mut kernel = Refusing(0);
    assert_eq!(list(&mut kernel).unwrap_err().errno(), Some(Errno::EPERM));
    assert_eq!(kernel.0, 1);
}

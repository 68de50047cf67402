//! Serves the control channel: reads requests from the ports and answers them one at a time.
//!
//! A port's next request is read when its last answer is with the device, which takes it as the
//! host reads; a host that does not read is waited for without holding up this CPU, which has a
//! safe point to go to, or the other port. What an unprivileged caller asks is refused before
//! anything is made for it.

use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use xsplice_abi::channel::{CALL_DUMP, CALL_HELLO, CALL_INFO, CALL_SYSCTL, CALL_TEST, RESULT_MORE};
use xsplice_abi::errno::Errno;
use xsplice_runtime::channel::{
    ENCODED_BYTES_MAX, Frame, FrameError, FrameKind, Intake, written_bytes,
};
use xsplice_runtime::{DumpCursor, Privilege};

use crate::console::commands;
use crate::console::receiver::PIECES_MAX;
use crate::console::ring::BUFFER_BYTES;
use crate::console::serial::{PORTS, Serial};
use crate::console::text::Text;
use crate::cpu;
use crate::cpu::clock;
use crate::cpu::delays;
use crate::debug_ports::debugcon::log;
use crate::image;
use crate::platform::KernelRuntime;
use crate::work;
use crate::work::target;

/// Pieces that are taken or requests that are answered on the privileged port before this CPU goes
/// back to its safe point.
const STEPS: usize = 16;
/// As many on the other, and how long it is not looked at afterwards, in nanoseconds: telling the
/// device of a piece or of an answer costs this CPU more than a round of its work, and a flood
/// there must not keep it.
const STEPS_UNPRIVILEGED: usize = 1;
const PAUSE_UNPRIVILEGED_NS: u64 = 1_000_000;
/// Most that is taken in behind an answer that is not read yet: any one request.
const INPUT_BYTES_MAX: usize = ENCODED_BYTES_MAX + 1;
/// As much on the other port, where nobody has anything to ask for.
const INPUT_BYTES_MAX_UNPRIVILEGED: usize = INPUT_BYTES_KEPT;
/// Size of a part of a dump: more is made when this much has been handed to the device.
const DUMP_PART_BYTES: usize = 64 * 1024;
/// Room for as much as the device holds at once.
const INPUT_BYTES_KEPT: usize = PIECES_MAX * BUFFER_BYTES;

#[derive(Debug)]
struct Port {
    privilege: Privilege,
    intake: Intake,
    /// A dump that is not told to its end.
    dump: Option<Dump>,
    /// What could not be read since the connection began: the first is logged, garbage may be long.
    dropped: u64,
    /// Before then it is not looked at.
    due_ns: u64,
}

/// A dump that goes on when its reader has taken the last part.
#[derive(Debug)]
struct Dump {
    request: Frame,
    cursor: DumpCursor,
}

impl Dump {
    /// One that begins.
    fn answering(request: &Frame) -> Result<Dump, FrameError> {
        Ok(Dump {
            // What the request carries besides is not kept meanwhile.
            request: Frame::request(request.call(), request.sequence(), Vec::new())?,
            cursor: DumpCursor::default(),
        })
    }
}

impl Port {
    fn new(privilege: Privilege) -> Port {
        let mut intake = Intake::new(match privilege {
            Privilege::Privileged => INPUT_BYTES_MAX,
            Privilege::Unprivileged => INPUT_BYTES_MAX_UNPRIVILEGED,
        });
        // What a client sends that waits for its answer is taken in without any more memory.
        intake.keep_room(INPUT_BYTES_KEPT);
        Port {
            privilege,
            intake,
            dump: None,
            dropped: 0,
            due_ns: 0,
        }
    }

    /// Whether it is to be looked at now, which it is then taken to be.
    fn is_due(&mut self) -> bool {
        if self.privilege == Privilege::Privileged {
            return true;
        }
        let now_ns = clock::now_ns();
        let is_due = now_ns >= self.due_ns;
        if is_due {
            self.due_ns = now_ns + PAUSE_UNPRIVILEGED_NS;
        }
        is_due
    }

    fn steps(&self) -> usize {
        match self.privilege {
            Privilege::Privileged => STEPS,
            Privilege::Unprivileged => STEPS_UNPRIVILEGED,
        }
    }

    fn note_dropped(&mut self, index: usize, why: &dyn fmt::Display) {
        if self.dropped == 0 {
            log!("control port {index}: dropped: {why}");
        }
        self.dropped += 1;
    }

    /// The answer to the next request of what has been taken in; `None` when there is none.
    fn answer_next(&mut self, index: usize, runtime: &KernelRuntime) -> Option<Frame> {
        loop {
            if let Some(dump) = self.dump.take() {
                match self.go_on(dump, runtime) {
                    Ok(part) => return Some(part),
                    Err(error) => self.note_dropped(index, &error),
                }
            }
            let answer = match self.intake.next_frame()? {
                Ok(frame) if self.is_dump(&frame) => {
                    match Dump::answering(&frame) {
                        Ok(dump) => self.dump = Some(dump),
                        Err(error) => self.note_dropped(index, &error),
                    }
                    continue;
                }
                Ok(frame) => answer(runtime, self.privilege, frame),
                Err(error) => {
                    self.note_dropped(index, &error);
                    match self.intake.take_unheld() {
                        Some(request) => refused(&request, Errno::ENOMEM).map(Some),
                        None => Ok(None),
                    }
                }
            };
            match answer {
                Ok(Some(answer)) => return Some(answer),
                Ok(None) => {}
                Err(error) => self.note_dropped(index, &error),
            }
        }
    }
}

impl Port {
    /// Whether `frame` asks for a dump, and may.
    fn is_dump(&self, frame: &Frame) -> bool {
        self.privilege == Privilege::Privileged
            && matches!(frame.kind(), FrameKind::Request { .. })
            && frame.call() == CALL_DUMP
    }

    /// The next part of a dump, which stays here until it has been told to its end.
    fn go_on(&mut self, dump: Dump, runtime: &KernelRuntime) -> Result<Frame, FrameError> {
        let Ok(part) = runtime.dump_part(dump.cursor, DUMP_PART_BYTES) else {
            return refused(&dump.request, Errno::ENOMEM);
        };
        let result = match part.next {
            Some(_) => RESULT_MORE,
            None => 0,
        };
        let answer = dump.request.answer(result, part.text)?;
        self.dump = part.next.map(|cursor| Dump { cursor, ..dump });
        Ok(answer)
    }
}

/// How long the last payload call took.
static CALL_NS: AtomicU64 = AtomicU64::new(0);

/// How long the last payload call took, without the way to here and back, in nanoseconds.
pub(crate) fn last_call_ns() -> u64 {
    CALL_NS.load(Relaxed)
}

/// The channel.
#[derive(Debug)]
pub(crate) struct Channel {
    serial: Serial,
    ports: [Port; PORTS],
    runtime: &'static KernelRuntime,
}

impl Channel {
    /// The channel over `serial`: its first port is privileged, the other is not.
    pub(crate) fn new(serial: Serial, runtime: &'static KernelRuntime) -> Channel {
        Channel {
            serial,
            ports: [
                Port::new(Privilege::Privileged),
                Port::new(Privilege::Unprivileged),
            ],
            runtime,
        }
    }

    /// Handles what has arrived; returns soon, whatever the host does.
    pub(crate) fn poll(&mut self) {
        self.poll_control();
        for index in 0..PORTS {
            if self.serial.is_sending(index) {
                self.make_room(index);
                self.serial.advance(index);
            }
            if !self.ports[index].is_due() {
                continue;
            }
            for _ in 0..self.ports[index].steps() {
                if !self.serial.can_send(index) {
                    break;
                }
                if let Some(answer) = self.ports[index].answer_next(index, self.runtime) {
                    self.send(index, answer);
                } else if !self.take(index) {
                    break;
                }
            }
            self.serial.tell(index);
        }
    }

    fn send(&mut self, index: usize, answer: Frame) {
        match answer.into_encoder() {
            Ok(encoder) => {
                self.make_room(index);
                if self.ports[index].privilege == Privilege::Unprivileged {
                    delays::spend(&cpu::current().slow_send_ns);
                }
                self.serial.send(index, encoder);
            }
            Err(error) => self.ports[index].note_dropped(index, &error),
        }
    }

    /// Takes in the next piece that port `index` has received, if there is one.
    fn take(&mut self, index: usize) -> bool {
        let took = self.take_piece(index);
        // The device tells of a new connection before it gives its first bytes.
        self.poll_control();
        took
    }

    fn take_piece(&mut self, index: usize) -> bool {
        let port = &mut self.ports[index];
        let mut taken = Ok(());
        let took = self
            .serial
            .receive(index, |piece| taken = port.intake.take_in(piece));
        if let Err(overrun) = taken {
            port.note_dropped(index, &overrun);
        }
        took
    }

    /// The device writes only while it can receive: see [`crate::console::receiver`].
    fn make_room(&mut self, index: usize) {
        while self.serial.is_crowded(index) && self.take(index) {}
    }

    /// A connection that comes or goes leaves nothing of the one before.
    fn poll_control(&mut self) {
        while let Some(index) = self.serial.poll_control() {
            if index < PORTS {
                self.serial.drop_pending(index);
                // As many as may have arrived before.
                for _ in 0..PIECES_MAX {
                    if !self.take_piece(index) {
                        break;
                    }
                }
                self.ports[index].intake.begin();
                self.ports[index].dump = None;
                self.ports[index].dropped = 0;
            }
        }
        for port in &mut self.ports {
            port.intake.settle();
        }
    }
}

/// What answers a frame; `None` for one that asks nothing.
fn answer(
    runtime: &KernelRuntime,
    privilege: Privilege,
    mut request: Frame,
) -> Result<Option<Frame>, FrameError> {
    if !matches!(request.kind(), FrameKind::Request { .. }) {
        return Ok(None);
    }
    if privilege == Privilege::Unprivileged {
        return refused(&request, Errno::EPERM).map(Some);
    }
    match (request.call(), request.operation().copied()) {
        (CALL_SYSCTL, Some(asked)) => match request.take_area() {
            Ok(mut area) => {
                let mut operation = asked;
                let begun = clock::now_ns();
                let result = runtime.hypercall(privilege, &mut operation, &mut area);
                CALL_NS.store(clock::now_ns() - begun, Relaxed);
                area.truncate(written_bytes(&asked, &area));
                request.answer_sysctl(result, operation, area)
            }
            Err(_) => refused(&request, Errno::ENOMEM),
        },
        (CALL_HELLO, _) => request.answer(0, Vec::new()),
        (CALL_INFO, _) => text_answer(&request, Text::of(|out| info(runtime, out))),
        (CALL_TEST, _) => text_answer(&request, commands::run(runtime, request.data())),
        _ => refused(&request, Errno::ENOSYS),
    }
    .map(Some)
}

fn text_answer(request: &Frame, text: Result<Vec<u8>, Errno>) -> Result<Frame, FrameError> {
    match text {
        Ok(text) => request.answer(0, text),
        Err(error) => refused(request, error),
    }
}

/// The answer that is an error number, and nothing of what the request carried.
fn refused(request: &Frame, error: Errno) -> Result<Frame, FrameError> {
    request.answer(error.negated(), Vec::new())
}

fn info(runtime: &KernelRuntime, out: &mut Text) -> fmt::Result {
    let total =
        |counter: fn(&cpu::Cpu) -> u64| cpu::all().map(|(_, cpu)| counter(cpu)).sum::<u64>();
    write!(
        out,
        "extra={}\nversion={}\nbuild_id={}\ncpus={}\nuptime_ns={}\nepoch={}\ncalls={}\nwrong={}\nnmis={}\n",
        target::version(),
        env!("CARGO_PKG_VERSION"),
        image::BuildId,
        cpu::count(),
        clock::now_ns(),
        runtime.epoch(),
        total(|cpu| cpu.calls.load(Relaxed)),
        work::wrong(),
        total(|cpu| cpu.nmis.load(Relaxed)),
    )
}

//! Serves the control channel: takes requests off the ports, answers them one at a time.
//!
//! A port's next request is read when its last answer is with the device, which takes it as the host
//! reads; a host that does not read is waited for without holding up this CPU, which has a safe point
//! to go to, or the other port. What an unprivileged caller asks is refused before anything is made
//! for it.

use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write;

use xsplice_abi::channel::{CALL_DUMP, CALL_INFO, CALL_SYSCTL, CALL_TEST};
use xsplice_abi::errno::Errno;
use xsplice_runtime::Privilege;
use xsplice_runtime::channel::{Decoder, Frame, FrameError, FrameKind};

use crate::console::commands;
use crate::console::serial::{PORTS, RECEIVE_BYTES, Serial};
use crate::console::text::Text;
use crate::cpu;
use crate::cpu::clock;
use crate::debug_ports::debugcon::log;
use crate::image;
use crate::platform::KernelRuntime;
use crate::work;
use crate::work::target;

/// Buffers that are taken from the privileged port before this CPU goes back to its safe point.
const BUFFERS_AT_ONCE: usize = 16;
/// As many of the other: a flood there must not keep this CPU.
const UNPRIVILEGED_AT_ONCE: usize = 1;

#[derive(Debug)]
struct Port {
    privilege: Privilege,
    decoder: Decoder,
    /// Bytes that arrived and are not decoded yet: those from `taken` on.
    input: Vec<u8>,
    taken: usize,
    /// What could not be read since the connection began: the first is logged, garbage may be long.
    dropped: u64,
}

impl Port {
    fn new(privilege: Privilege) -> Port {
        Port {
            privilege,
            decoder: Decoder::in_the_middle(),
            input: Vec::with_capacity(RECEIVE_BYTES),
            taken: 0,
            dropped: 0,
        }
    }

    /// Forgets everything of the connection before.
    fn begin(&mut self) {
        self.decoder = Decoder::in_the_middle();
        self.input.clear();
        self.taken = 0;
        self.dropped = 0;
    }

    fn buffers_at_once(&self) -> usize {
        match self.privilege {
            Privilege::Privileged => BUFFERS_AT_ONCE,
            Privilege::Unprivileged => UNPRIVILEGED_AT_ONCE,
        }
    }

    fn note_dropped(&mut self, index: usize, why: &dyn fmt::Display) {
        if self.dropped == 0 {
            log!("control port {index}: dropped: {why}");
        }
        self.dropped += 1;
    }
}

/// The channel.
#[derive(Debug)]
pub struct Channel {
    serial: Serial,
    ports: [Port; PORTS],
    runtime: &'static KernelRuntime,
}

impl Channel {
    /// The channel over `serial`: its first port is privileged, the other is not.
    pub fn new(serial: Serial, runtime: &'static KernelRuntime) -> Channel {
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
    pub fn poll(&mut self) {
        self.poll_control();
        for index in 0..PORTS {
            self.serial.advance(index);
            for _ in 0..self.ports[index].buffers_at_once() {
                if !self.serial.can_send(index) || self.decode(index) {
                    break;
                }
                let mut input = core::mem::take(&mut self.ports[index].input);
                let came = self.serial.receive(index, &mut input);
                // The device tells of a new connection before it gives its first bytes.
                self.poll_control();
                self.ports[index].input = input;
                self.ports[index].taken = 0;
                if !came {
                    break;
                }
            }
        }
    }

    /// A connection that comes or goes leaves nothing of the one before: what was taken in is
    /// forgotten, and what the device still holds of it is spoiled by what every connection begins
    /// with.
    fn poll_control(&mut self) {
        while let Some(index) = self.serial.poll_control() {
            if let Some(port) = self.ports.get_mut(index) {
                port.begin();
                self.serial.drop_pending(index);
            }
        }
    }

    /// Decodes what port `index` holds. Returns whether an answer was sent.
    fn decode(&mut self, index: usize) -> bool {
        let port = &mut self.ports[index];
        while port.taken < port.input.len() {
            let mut rest = &port.input[port.taken..];
            let frame = port.decoder.next(&mut rest);
            port.taken = port.input.len() - rest.len();
            match frame {
                None => {}
                Some(Err(error)) => port.note_dropped(index, &error),
                Some(Ok(frame)) => match answer(self.runtime, port.privilege, frame) {
                    Ok(Some(bytes)) => {
                        self.serial.send(index, bytes);
                        return true;
                    }
                    Ok(None) => port.note_dropped(index, &"not a request"),
                    Err(error) => port.note_dropped(index, &error),
                },
            }
        }
        false
    }
}

/// The bytes that answer a frame; `None` for one that asks nothing.
fn answer(
    runtime: &KernelRuntime,
    privilege: Privilege,
    mut request: Frame,
) -> Result<Option<Vec<u8>>, FrameError> {
    if !matches!(request.kind(), FrameKind::Request { .. }) {
        return Ok(None);
    }
    if privilege == Privilege::Unprivileged {
        return refused(&request, Errno::EPERM).map(Some);
    }
    let whole = match (request.call(), request.operation().copied()) {
        (CALL_SYSCTL, Some(mut operation)) => match request.take_area() {
            Ok(mut area) => {
                let result = runtime.hypercall(privilege, &mut operation, &mut area);
                request.answer_sysctl(result, operation, area)?.encode()
            }
            Err(error) => Err(error),
        },
        (CALL_INFO, _) => text_answer(&request, Text::of(|out| info(runtime, out))),
        (CALL_DUMP, _) => text_answer(&request, Text::of(|out| runtime.dump(out))),
        (CALL_TEST, _) => {
            let text = commands::run(runtime, request.data());
            text_answer(&request, text.map(alloc::string::String::into_bytes))
        }
        _ => refused(&request, Errno::ENOSYS),
    };
    match whole {
        Err(FrameError::NoMemory { .. }) => refused(&request, Errno::ENOMEM),
        other => other,
    }
    .map(Some)
}

fn text_answer(request: &Frame, text: Result<Vec<u8>, Errno>) -> Result<Vec<u8>, FrameError> {
    match text {
        Ok(text) => request.answer(0, text)?.encode(),
        Err(error) => refused(request, error),
    }
}

/// The answer that is an error number, and nothing of what the request carried.
fn refused(request: &Frame, error: Errno) -> Result<Vec<u8>, FrameError> {
    request.answer(error.negated(), Vec::new())?.encode()
}

fn info(runtime: &KernelRuntime, out: &mut Text) -> fmt::Result {
    use core::sync::atomic::Ordering::Relaxed;
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

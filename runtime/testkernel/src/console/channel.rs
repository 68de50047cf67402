//! Serves the control channel: takes requests off the ports, answers them one at a time.
//!
//! A port's next request is read when its last answer has left, so that a host that does not read
//! is waited for without holding up this CPU, which has a safe point to go to.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use xsplice_abi::channel::{CALL_DUMP, CALL_INFO, CALL_SYSCTL, CALL_TEST};
use xsplice_abi::errno::Errno;
use xsplice_runtime::Privilege;
use xsplice_runtime::channel::{DELIMITER, Decoder, Frame, FrameError, FrameKind};

use crate::boot::image;
use crate::console::commands;
use crate::console::debugcon::log;
use crate::console::serial::{PORTS, Serial};
use crate::cpu;
use crate::cpu::clock;
use crate::platform::KernelRuntime;
use crate::work;
use crate::work::target;

/// Buffers that are taken from a port before this CPU goes back to its safe point.
const BUFFERS_AT_ONCE: usize = 16;

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
            input: Vec::new(),
            taken: 0,
            dropped: 0,
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
            for _ in 0..BUFFERS_AT_ONCE {
                if !self.serial.can_send(index) || self.decode(index) {
                    break;
                }
                let Some(bytes) = self.serial.receive(index) else {
                    break;
                };
                // The device tells of a new connection before it gives its first bytes.
                self.poll_control();
                self.ports[index].input = bytes;
                self.ports[index].taken = 0;
            }
        }
    }

    /// A connection that comes or goes leaves nothing of the one before: what was taken in is
    /// forgotten, and what the device still holds of it is spoiled by what every connection begins
    /// with.
    fn poll_control(&mut self) {
        while let Some(index) = self.serial.poll_control() {
            if let Some(port) = self.ports.get_mut(index) {
                *port = Port::new(port.privilege);
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
    let answer = match (request.call(), request.operation().copied()) {
        (CALL_SYSCTL, Some(mut operation)) => {
            let mut area = request.take_area()?;
            let result = runtime.hypercall(privilege, &mut operation, &mut area);
            request.answer_sysctl(result, operation, area)?
        }
        _ if privilege == Privilege::Unprivileged => {
            request.answer(Errno::EPERM.negated(), Vec::new())?
        }
        (CALL_INFO, _) => request.answer(0, info(runtime).into_bytes())?,
        (CALL_DUMP, _) => {
            let mut text = String::new();
            // Writing to a string never fails.
            let _ = runtime.dump(&mut text);
            request.answer(0, text.into_bytes())?
        }
        (CALL_TEST, _) => match commands::run(runtime, request.data()) {
            Ok(text) => request.answer(0, text.into_bytes())?,
            Err(error) => request.answer(error.negated(), Vec::new())?,
        },
        _ => request.answer(Errno::ENOSYS.negated(), Vec::new())?,
    };
    // A zero byte first: whatever an earlier connection left half sent ends there.
    let mut bytes = answer.encode()?;
    bytes.insert(0, DELIMITER);
    Ok(Some(bytes))
}

fn info(runtime: &KernelRuntime) -> String {
    use core::sync::atomic::Ordering::Relaxed;
    let total =
        |counter: fn(&cpu::Cpu) -> u64| cpu::all().map(|(_, cpu)| counter(cpu)).sum::<u64>();
    format!(
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

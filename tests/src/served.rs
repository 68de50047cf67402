//! The loader over an image of this host, behind the socket that the operator's tool speaks to.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use xsplice_abi::channel::{CALL_DUMP, CALL_INFO};
use xsplice_abi::errno::Errno;
use xsplice_runtime::channel::{Decoder, Frame};
use xsplice_runtime::patch::memory::MemoryPlatform;
use xsplice_runtime::rendezvous::cpu::CpuId;
use xsplice_runtime::{Privilege, Runtime};

use crate::loader::Machine;

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 16;

/// Answers on `socket` as a kernel does that runs the image `base`, for as long as the process
/// lives.
///
/// # Errors
/// When the image cannot be read, or there can be no such socket.
pub fn boot(base: &Path, socket: &Path) -> Result<()> {
    let image = fs::read(base).with_context(|| base.display().to_string())?;
    let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
    thread::spawn(move || {
        let machine = Machine::new(&image).expect("the image is one");
        let runtime = machine.boot(None).expect("the image boots");
        for stream in listener.incoming() {
            serve(stream.expect("somebody calls"), &runtime);
        }
    });
    Ok(())
}

/// The kernel's end of the control channel.
fn serve(mut stream: UnixStream, runtime: &Runtime<'_, MemoryPlatform>) {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let mut input = &buffer[..count];
        while let Some(frame) = decoder.next(&mut input) {
            // What is there before the first whole frame is no frame.
            let Ok(frame) = frame else { continue };
            let answer = answer(runtime, frame);
            let bytes = answer.encode().expect("an answer is a frame");
            // Who does not wait for it has gone.
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

fn answer(runtime: &Runtime<'_, MemoryPlatform>, mut frame: Frame) -> Frame {
    if let Some(mut operation) = frame.operation().copied() {
        runtime.safe_point(CpuId(0));
        let mut area = frame.take_area().expect("a call has an area");
        let result = runtime.hypercall(Privilege::Privileged, &mut operation, &mut area);
        return answered(frame.answer_sysctl(result, operation, area));
    }
    let (result, text) = match frame.call() {
        CALL_INFO => (0, "xen_extra=-unstable\n".to_owned()),
        CALL_DUMP => {
            let mut text = String::new();
            runtime.dump(&mut text).expect("a text takes all");
            (0, text)
        }
        _ => (Errno::EOPNOTSUPP.negated(), String::new()),
    };
    answered(frame.answer(result, text.into_bytes()))
}

fn answered<E: std::fmt::Debug>(frame: Result<Frame, E>) -> Frame {
    frame.expect("an answer fits a frame")
}

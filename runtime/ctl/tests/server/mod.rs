//! The kernel's end of the control channel, on a socket of the host and in this process.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use xsplice_abi::Errno;
use xsplice_abi::hypercall::Operation;
use xsplice_runtime::channel::{Decoder, Frame, FrameKind};

/// What answers.
pub(crate) trait Kernel: Send + 'static {
    /// A payload call.
    fn sysctl(&mut self, operation: &mut Operation, area: &mut [u8]) -> i32;
    /// A call that takes and gives text.
    fn text(&mut self, call: u32, request: &str) -> (i32, String);
}

/// A socket with a kernel behind it, for as long as the process lives.
pub(crate) struct Server {
    folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(mut kernel: impl Kernel) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("kernel.sock")).unwrap();
        thread::spawn(move || {
            // One after the other, as a console has it.
            for stream in listener.incoming() {
                serve(stream.unwrap(), &mut kernel);
            }
        });
        Server { folder }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("kernel.sock")
    }

    /// A file with `content` next to the socket.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs the tool on this kernel.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Run {
        run(&self.socket(), arguments)
    }
}

fn serve(mut stream: UnixStream, kernel: &mut impl Kernel) {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            return;
        }
        let mut input = &buffer[..count];
        while let Some(frame) = decoder.next(&mut input) {
            let Ok(mut frame) = frame else { continue };
            let FrameKind::Request { .. } = frame.kind() else {
                continue;
            };
            let answer = answer(kernel, &mut frame);
            if stream.write_all(&answer.encode().unwrap()).is_err() {
                return;
            }
        }
    }
}

fn answer(kernel: &mut impl Kernel, frame: &mut Frame) -> Frame {
    if let Some(mut operation) = frame.operation().copied() {
        let mut area = frame.take_area().unwrap();
        let result = kernel.sysctl(&mut operation, &mut area);
        return frame.answer_sysctl(result, operation, area).unwrap();
    }
    let request = String::from_utf8_lossy(frame.data()).into_owned();
    let (result, text) = kernel.text(frame.call(), &request);
    frame.answer(result, text.into_bytes()).unwrap()
}

/// How a run of the tool ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs the tool with `socket`, and without whatever the environment says.
pub(crate) fn run(socket: &Path, arguments: &[&str]) -> Run {
    let output = tool()
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .output()
        .unwrap();
    finished(output)
}

/// The tool, without a socket.
pub(crate) fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xsplice-ctl"));
    command.env_remove("XSPLICE_SOCKET");
    command
}

pub(crate) fn finished(output: Output) -> Run {
    Run {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A call that nobody answers.
pub(crate) const UNKNOWN_CALL: (i32, String) = (Errno::EOPNOTSUPP.negated(), String::new());

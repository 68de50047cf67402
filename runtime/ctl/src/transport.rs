//! Carries one call to the kernel and its answer back.
//!
//! A console has no connections: the answer to a tool that was killed may arrive when the next tool
//! listens. So a stream starts with bytes that end and invalidate an unfinished frame, and only an
//! answer with the request's own sequence number is accepted.
//!
//! A device may hold back all that the kernel writes to one connection, without end: see
//! [`xsplice_abi::channel`]. The first call of a connection that nobody answers soon is therefore
//! one that asks nothing, and what is asked goes over a connection that has carried an answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xsplice_abi::channel::{CALL_HELLO, RESULT_MORE};
use xsplice_abi::hypercall::Operation;
use xsplice_runtime::channel::{Decoder, Frame, FrameKind, PREAMBLE};

use crate::error::CtlError;

/// One call at a time to a kernel.
pub trait Transport {
    /// Makes a payload call. `area` is the caller's memory; it and `operation` come back as the
    /// call left them. Returns what the call returned.
    ///
    /// # Errors
    /// When no answer came; an error that the kernel returns is a result, not an error here.
    fn sysctl(&mut self, operation: &mut Operation, area: &mut Vec<u8>) -> Result<i32, CtlError>;

    /// Makes a call that takes and gives text. Returns what the call returned, and the text.
    ///
    /// # Errors
    /// As [`Transport::sysctl`].
    fn text(&mut self, call: u32, request: &str) -> Result<(i32, String), CtlError>;
}

/// How long the first connection has to carry its first answer; each next one has twice as long, so
/// that a slow kernel is reached too.
const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// The kernel's console as a socket of the host.
#[derive(Debug)]
pub struct SocketTransport {
    path: PathBuf,
    stream: UnixStream,
    decoder: Decoder,
    sequence: u32,
    answer_limit: Duration,
    carries: Carries,
}

/// Whether the connection is known to carry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    Unknown,
    Answers,
}

impl SocketTransport {
    /// Connects to the socket at `path`. Each call has `answer_limit` to be answered.
    ///
    /// # Errors
    /// [`CtlError::Connect`], [`CtlError::Channel`].
    pub fn connect(path: &Path, answer_limit: Duration) -> Result<SocketTransport, CtlError> {
        Ok(SocketTransport {
            path: path.to_owned(),
            stream: open(path, answer_limit)?,
            decoder: Decoder::new(),
            sequence: first_sequence(),
            answer_limit,
            carries: Carries::Unknown,
        })
    }

    fn call(&mut self, request: &Frame) -> Result<(i32, Frame), CtlError> {
        let deadline = Instant::now() + self.answer_limit;
        self.greet(deadline)?;
        self.send(request)?;
        self.next_answer(request, deadline)
    }

    /// Has a connection that carries answers.
    fn greet(&mut self, deadline: Instant) -> Result<(), CtlError> {
        let mut patience = FIRST_PATIENCE;
        while self.carries == Carries::Unknown {
            let hello = Frame::request(CALL_HELLO, self.next_sequence(), Vec::new())?;
            self.send(&hello)?;
            let until = Instant::now() + patience;
            match self.next_answer(&hello, until.min(deadline)) {
                Ok(_) => self.carries = Carries::Answers,
                Err(CtlError::NoAnswer { .. }) if until < deadline => {
                    self.stream = open(&self.path, self.answer_limit)?;
                    self.decoder = Decoder::new();
                    patience *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, request: &Frame) -> Result<(), CtlError> {
        self.stream
            .write_all(&request.encode()?)
            .map_err(|source| self.channel_error(source))
    }

    /// The next answer to a request that has been sent.
    fn next_answer(
        &mut self,
        request: &Frame,
        deadline: Instant,
    ) -> Result<(i32, Frame), CtlError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.no_answer());
            }
            self.stream
                .set_read_timeout(Some(left))
                .map_err(CtlError::Channel)?;
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(CtlError::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.channel_error(source)),
            };
            let mut input = &buffer[..count];
            while let Some(frame) = self.decoder.next(&mut input) {
                // Unreadable frames and answers to other requests are skipped.
                let Ok(frame) = frame else { continue };
                let FrameKind::Answer { result } = frame.kind() else {
                    continue;
                };
                if frame.sequence() == request.sequence() && frame.call() == request.call() {
                    return Ok((result, frame));
                }
            }
        }
    }

    fn channel_error(&self, source: io::Error) -> CtlError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.no_answer(),
            _ => CtlError::Channel(source),
        }
    }

    fn no_answer(&self) -> CtlError {
        CtlError::NoAnswer {
            waited: self.answer_limit,
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

impl Transport for SocketTransport {
    fn sysctl(&mut self, operation: &mut Operation, area: &mut Vec<u8>) -> Result<i32, CtlError> {
        let sequence = self.next_sequence();
        let sent = std::mem::take(area);
        let length = sent.len();
        let request = Frame::sysctl(sequence, *operation, sent, length)?;
        let (result, answer) = self.call(&request)?;
        *operation = *answer.operation().ok_or(CtlError::Nonsense {
            what: "no operation in the answer to one",
        })?;
        let written = answer.into_data();
        *area = request.into_data();
        area.get_mut(..written.len())
            .ok_or(CtlError::Nonsense {
                what: "an answer with more of our memory than there is",
            })?
            .copy_from_slice(&written);
        Ok(result)
    }

    fn text(&mut self, call: u32, request: &str) -> Result<(i32, String), CtlError> {
        let sequence = self.next_sequence();
        let request = Frame::request(call, sequence, request.as_bytes().to_vec())?;
        let (mut result, answer) = self.call(&request)?;
        let mut text = answer.into_data();
        while result == RESULT_MORE {
            let deadline = Instant::now() + self.answer_limit;
            let (next, answer) = self.next_answer(&request, deadline)?;
            result = next;
            text.extend_from_slice(answer.data());
        }
        Ok((result, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// A new connection, which begins as each does.
fn open(path: &Path, limit: Duration) -> Result<UnixStream, CtlError> {
    let connect_error = |source| CtlError::Connect {
        path: path.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(path).map_err(connect_error)?;
    stream
        .set_write_timeout(Some(limit))
        .map_err(connect_error)?;
    stream.write_all(&PREAMBLE).map_err(CtlError::Channel)?;
    Ok(stream)
}

/// A start that the tool before us, killed while it waited, most likely did not have.
fn first_sequence() -> u32 {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    clock ^ process::id().rotate_left(16)
}

//! How fast payloads get into the kernel: the channel alone, and with all of the loader's work.

use anyhow::{Context, Result, ensure};
use std::fmt;
use std::time::{Duration, Instant};
use xsplice_abi::Errno;
use xsplice_abi::limits::PAYLOAD_BYTES_MAX;
use xsplice_ctl::calls::ActionKind;

use super::many::{CHANGED, Many};
use super::{act, median};
use crate::kernel::Kernel;

/// How often each is sent.
const ROUNDS: usize = 10;

/// What was sent and how long it took.
#[derive(Clone, Debug)]
pub(super) struct Uploads {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    what: String,
    bytes: usize,
    time: Duration,
}

impl Uploads {
    /// Sends the largest file that the kernel takes up at all, and the payloads.
    pub(super) fn time(kernel: &Kernel, many: &Many) -> Result<Uploads> {
        let noise = vec![0x5a; PAYLOAD_BYTES_MAX];
        let mut rows = vec![Row {
            what: "2 MiB that are no payload (the channel alone)".to_owned(),
            bytes: noise.len(),
            time: timed(|| {
                let answer = kernel.upload("noise", &noise)?;
                ensure!(answer == Err(Errno::ENOEXEC), "{answer:?}");
                Ok(())
            })?,
        }];
        for records in CHANGED {
            let (name, payload) = (format!("many{records}"), many.payload(records)?);
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let start = Instant::now();
                let answer = kernel.upload(&name, payload)?;
                times.push(start.elapsed());
                ensure!(answer == Ok(()), "{name}: {answer:?}");
                act(kernel, ActionKind::Unload, &name)?;
            }
            rows.push(Row {
                what: format!("a payload of {records} records, checked and placed"),
                bytes: payload.len(),
                time: median(&mut times).context("timed")?,
            });
        }
        Ok(Uploads { rows })
    }
}

fn timed(mut send: impl FnMut() -> Result<()>) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        send()?;
        times.push(start.elapsed());
    }
    median(&mut times).context("timed")
}

impl fmt::Display for Uploads {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "Uploads to a kernel of 2 busy CPUs (median of {ROUNDS})"
        )?;
        for Row { what, bytes, time } in &self.rows {
            let kib = bytes.div_ceil(1024);
            let micros = time.as_micros().max(1);
            let kib_a_second = *bytes as u128 * 1_000_000 / 1024 / micros;
            writeln!(
                out,
                "  {what:<50} {kib:>5} KiB in {:>6} ms: {kib_a_second:>6} KiB/s",
                time.as_millis()
            )?;
        }
        Ok(())
    }
}

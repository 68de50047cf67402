//! One-line commands of the kernel itself, for its tests (call `CALL_TEST`).
//!
//! | command | does | answers |
//! |---|---|---|
//! | `stats` | | a line a CPU: `cpu= calls= timers= nmis= delivered= kicks= safe_points= delayed=
//! last_value=` |
//! | `values` | calls each function that workers check | a line a check: `name=value` |
//! | `nmi on`, `nmi off`, `nmi` | the last CPU sends NMIs to all, interrupts off or not | `nmis=
//! delivered= held=` |
//! | `timer HZ` | sets the timer of every CPU but the one that sends NMIs; 0 stops it | |
//! | `hang CPU MS` | that CPU spins with interrupts off | |
//! | `slow-stop CPU MS` | that CPU, as a follower, takes so long before it next acknowledges | |
//! | `slow-leave CPU MS` | that CPU, as a follower, takes so long when it next serialises | |
//! | `slow-send CPU MS` | the first CPU takes so long before it next answers on the unprivileged
//! port | |
//! | `release CPU` | ends these early | |
//! | `bug N` | warns if N is odd | `value= warnings= kind= file= line= address=` |
//! | `fault ADDRESS` | reads a word there (hexadecimal) | `error= value= fixups=` |
//! | `alternative` | | `path=` |
//! | `tickets` | | `tickets=` |
//! | `pages` | | `mapped= taken= heap= symbols=` (of payloads) |
//! | `fail N` | the Nth allocation from then on fails; 0: none | for 0: `left=`, how many it did
//! not come to |
//! | `call` | | `ns=` that the last payload call took |
//! | `mappings` | counts page-table entries by what they allow | `rx= r= rw= wx=` |
//! | `storm NAME ROUNDS MS` | the last CPU applies, the first reverts that payload, so often each,
//! with this timeout | |
//! | `storm` | | `running=` and what came of the calls |
//! | `times` | | when each part of the last action happened, in ns: `requested= stopped= released=
//! running=` |
//! | `zone` | | `ticks=` of the time-stamp counter that the last action masked NMIs for |
//! | `write ADDRESS` | writes to read-only memory (hexadecimal) | nothing: the run ends with status
//! 35 |
//! | `execute ADDRESS` | jumps into data (hexadecimal) | nothing: the run ends with status 35 |
//! | `crash` | reads an address that is not there | nothing: the run ends with status 35 |
//! | `exit N` | ends the run | nothing: QEMU's status is `2 N + 1` |

use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;

use xsplice_abi::errno::Errno;

use crate::boot::options;
use crate::console::channel;
use crate::console::text::Text;
use crate::cpu;
use crate::cpu::TimerSetting;
use crate::cpu::delays;
use crate::cpu::nmi;
use crate::debug_ports::exit;
use crate::fault::tables;
use crate::memory::heap;
use crate::memory::pages;
use crate::memory::paging;
use crate::platform::{self, KernelRuntime};
use crate::work::storm;
use crate::work::target;

/// Writes to an answer; its state says what went wrong.
macro_rules! say {
    ($out:expr, $($argument:tt)*) => {
        write!($out, $($argument)*).map_err(|_| Errno::ENOMEM)
    };
}

/// Runs the command in `line`; gives what it answers. Unknown commands and arguments that make no
/// sense are -EINVAL.
pub(crate) fn run(runtime: &KernelRuntime, line: &[u8]) -> Result<Vec<u8>, Errno> {
    Text::try_of(|out| carry_out(runtime, line, out))
}

fn carry_out(runtime: &KernelRuntime, line: &[u8], out: &mut Text) -> Result<(), Errno> {
    let line = core::str::from_utf8(line).map_err(|_| Errno::EINVAL)?;
    let mut words = line.split_ascii_whitespace();
    let command = words.next().ok_or(Errno::EINVAL)?;
    let arguments = [words.next(), words.next(), words.next()];
    match (command, arguments) {
        ("stats", [None, ..]) => stats(out),
        ("values", [None, ..]) => values(out),
        ("nmi", [Some("on"), None, _]) => {
            set_nmis(TimerSetting::Nmi {
                hz: options::get().nmi_hz,
            });
            nmis(out)
        }
        ("nmi", [Some("off"), None, _]) => {
            set_nmis(TimerSetting::Interrupt {
                hz: options::get().timer_hz,
            });
            nmis(out)
        }
        ("nmi", [None, ..]) => nmis(out),
        ("timer", [Some(hz), None, _]) => {
            let hz = number(hz)?;
            for (_, cpu) in cpu::all().filter(|(_, cpu)| !cpu.sends_nmis()) {
                cpu.set_timer(TimerSetting::Interrupt { hz });
            }
            Ok(())
        }
        (
            what @ ("hang" | "slow-stop" | "slow-leave" | "slow-send"),
            [Some(which), Some(ms), None],
        ) => {
            let cpu = by_number(which)?;
            let wanted = match what {
                "hang" => &cpu.hang_ns,
                "slow-stop" => &cpu.slow_stop_ns,
                "slow-send" => &cpu.slow_send_ns,
                _ => &cpu.slow_leave_ns,
            };
            delays::ask(cpu, wanted, milliseconds(ms)?);
            Ok(())
        }
        ("release", [Some(which), None, _]) => {
            delays::end(by_number(which)?);
            Ok(())
        }
        ("bug", [Some(value), None, _]) => bug(number(value)?, out),
        ("fault", [Some(address), None, _]) => {
            let address = hexadecimal(address)?;
            let (error, value) = target::read(address);
            say!(
                out,
                "error={error} value={value:#x} fixups={}\n",
                tables::fixups()
            )
        }
        ("alternative", [None, ..]) => say!(out, "path={}\n", target::path()),
        ("tickets", [None, ..]) => say!(out, "tickets={}\n", target::tickets()),
        ("pages", [None, ..]) => {
            let (mapped, taken) = pages::used();
            say!(
                out,
                "mapped={mapped} taken={taken} heap={} symbols={}\n",
                heap::used_bytes(),
                runtime.payload_symbols()
            )
        }
        ("fail", [Some(nth), None, _]) => {
            let nth = number(nth)?;
            let left = heap::fail_at(nth);
            // An answer is an allocation, and the first that counts is of the next command.
            if nth == 0 {
                say!(out, "left={left}\n")
            } else {
                Ok(())
            }
        }
        ("call", [None, ..]) => say!(out, "ns={}\n", channel::last_call_ns()),
        ("mappings", [None, ..]) => {
            let paging::Census { rx, r, rw, wx } = paging::census();
            say!(out, "rx={rx} r={r} rw={rw} wx={wx}\n")
        }
        ("epoch", [None, ..]) => say!(out, "epoch={}\n", runtime.epoch()),
        ("storm", [Some(name), Some(rounds), Some(ms)]) => {
            let timeout_ns = u32::try_from(milliseconds(ms)?).map_err(|_| Errno::EINVAL)?;
            storm::start(name, number(rounds)?, timeout_ns)
        }
        ("storm", [None, ..]) => say!(out, "{}", storm::Progress),
        ("times", [None, ..]) => {
            let times = runtime.milestones();
            say!(
                out,
                "requested={} stopped={} released={} running={}\n",
                times.requested_ns,
                times.stopped_ns,
                times.released_ns,
                times.running_ns
            )
        }
        ("zone", [None, ..]) => say!(out, "ticks={}\n", platform::zone_ticks()),
        ("write", [Some(address), None, _]) => {
            let address = hexadecimal(address)? as *mut u8;
            // SAFETY: for addresses that pages protect, and only those make sense here, the fault
            // ends the run.
            unsafe { core::ptr::write_volatile(address, 0) };
            say!(out, "written {address:p}\n")
        }
        ("execute", [Some(address), None, _]) => {
            let address = hexadecimal(address)?;
            // SAFETY: as above.
            let function = unsafe { core::mem::transmute::<u64, extern "C" fn()>(address) };
            function();
            say!(out, "executed {address:#x}\n")
        }
        ("crash", [None, ..]) => {
            // SAFETY: nothing is mapped there: the fault ends the run, which is what is asked for.
            let value = unsafe { core::ptr::read_volatile(CRASH_ADDRESS as *const u64) };
            say!(out, "{value:#x}\n")
        }
        ("exit", [Some(value), None, _]) => exit::exit_with(number(value)?),
        _ => Err(Errno::EINVAL),
    }
}

/// In the unmapped lower half.
const CRASH_ADDRESS: u64 = 0xdead_0000;

fn number(word: &str) -> Result<u32, Errno> {
    word.parse().map_err(|_| Errno::EINVAL)
}

fn hexadecimal(word: &str) -> Result<u64, Errno> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    u64::from_str_radix(digits, 16).map_err(|_| Errno::EINVAL)
}

fn milliseconds(word: &str) -> Result<u64, Errno> {
    Ok(u64::from(number(word)?) * 1_000_000)
}

fn by_number(word: &str) -> Result<&'static cpu::Cpu, Errno> {
    let wanted = number(word)?;
    let (_, cpu) = cpu::all()
        .find(|(number, _)| *number == wanted)
        .ok_or(Errno::EINVAL)?;
    Ok(cpu)
}

fn set_nmis(setting: TimerSetting) {
    if let Some((_, cpu)) = cpu::all().last() {
        cpu.set_timer(setting);
    }
}

fn nmis(out: &mut Text) -> Result<(), Errno> {
    let total: u64 = cpu::all().map(|(_, cpu)| cpu.nmis.load(Relaxed)).sum();
    let delivered: u64 = cpu::all()
        .map(|(_, cpu)| cpu.nmis_delivered.load(Relaxed))
        .sum();
    say!(
        out,
        "nmis={total} delivered={delivered} held={}\n",
        nmi::held_ever()
    )
}

fn stats(out: &mut Text) -> Result<(), Errno> {
    for (number, cpu) in cpu::all() {
        say!(
            out,
            "cpu={number} calls={} timers={} nmis={} delivered={} kicks={} safe_points={} \
             delayed={} last_value={:#x}\n",
            cpu.calls.load(Relaxed),
            cpu.timers.load(Relaxed),
            cpu.nmis.load(Relaxed),
            cpu.nmis_delivered.load(Relaxed),
            cpu.kicks.load(Relaxed),
            cpu.safe_points.load(Relaxed),
            u8::from(cpu.is_delayed.load(Relaxed)),
            cpu.last_value.load(Relaxed)
        )?;
    }
    Ok(())
}

fn values(out: &mut Text) -> Result<(), Errno> {
    for check in target::CHECKS {
        say!(out, "{}={:#x}\n", check.name, (check.run)())?;
    }
    Ok(())
}

fn bug(argument: u32, out: &mut Text) -> Result<(), Errno> {
    let value = target::warn(argument);
    say!(out, "value={value} warnings={}", tables::warnings())?;
    if let Some(report) = tables::last_bug() {
        say!(
            out,
            " kind={} file={} line={} address={:#x}",
            report.kind,
            report.file,
            report.line,
            report.address
        )?;
    }
    say!(out, "\n")
}

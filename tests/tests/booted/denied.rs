//! What may be replaced in the running kernel and what may not: the C functions, and nothing of the
//! kernel proper.

use anyhow::{Context, Result, ensure};
use goblin::elf::Elf;
use xsplice_abi::Errno;
use xsplice_abi::profile::XSPLICE;
use xsplice_abi::section;
use xsplice_ctl::calls::ActionKind;
use xsplice_tests::edit::Edit;

use super::super::Check;
use super::bench::{Bench, HELLO};

pub(crate) const CHECKS: &[Check] = &[(
    "a payload for a function of the patcher is refused, one for a C function is not",
    patcher,
)];

/// Parts of the mangled names of the patcher's functions: the rendezvous, what runs in the
/// quiescent zone, the loader.
const PATCHER: [&str; 4] = [
    "15xsplice_runtime10rendezvous",
    "15xsplice_runtime3act6action",
    "15xsplice_runtime4load",
    "15xsplice_runtime3act7runtime",
];
/// So many functions are tried of each part.
const TRIED: usize = 4;
/// What a jump needs, and a little.
const SIZE_MIN: u64 = 16;

/// Offsets in a record (docs/payload-format.md).
const OLD_ADDRESS: usize = 16;
const OLD_SIZE: usize = 28;

/// A function of the kernel.
struct Function {
    name: String,
    address: u64,
    size: u32,
}

fn functions(kernel: &[u8], is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Function>> {
    let elf = Elf::parse(kernel)?;
    let mut found = Vec::new();
    for symbol in &elf.syms {
        let name = elf.strtab.get_at(symbol.st_name).unwrap_or_default();
        if symbol.is_function() && symbol.st_size >= SIZE_MIN && is_wanted(name) {
            found.push(Function {
                name: name.to_owned(),
                address: symbol.st_value,
                size: u32::try_from(symbol.st_size)?,
            });
        }
    }
    Ok(found)
}

/// The payload, made to replace another function, without an expectation of what that holds.
fn forged(payload: &[u8], function: &Function) -> Option<Vec<u8>> {
    let mut edit = Edit::new(payload, &XSPLICE);
    let records = edit.section(&edit.own(section::FUNCS))?;
    edit.put_content(records, OLD_ADDRESS, &function.address.to_le_bytes())?;
    edit.put_content(records, OLD_SIZE, &function.size.to_le_bytes())?;
    let expectations = edit.section(&edit.own(section::EXPECT))?;
    let nothing = vec![0; edit.size(expectations)];
    edit.put_content(expectations, 0, &nothing)?;
    Some(edit.stamp())
}

fn patcher(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    let image = bench.image()?;
    for part in PATCHER {
        let of_part = functions(&image, |name| name.contains(part))?;
        ensure!(!of_part.is_empty(), "the premise: no function of {part}");
        for function in of_part.iter().take(TRIED) {
            let start = bench.log(cpus)?.len();
            let payload = forged(&hello.bytes, function).context("a payload with a record")?;
            let answer = kernel.upload("forged", &payload)?;
            ensure!(
                answer == Err(Errno::EINVAL),
                "{}: {answer:?}",
                function.name
            );
            let log = bench.log(cpus)?.split_off(start);
            ensure!(log.contains("on the deny list"), "{}: {log}", function.name);
        }
    }
    // The same forgery, for a function that may be replaced.
    let c_functions = functions(&image, |name| ["hot_mix", "weigh"].contains(&name))?;
    ensure!(!c_functions.is_empty(), "the premise: no C function");
    for function in c_functions {
        let payload = forged(&hello.bytes, &function).context("a payload with a record")?;
        let answer = kernel.upload("forged", &payload)?;
        ensure!(answer == Ok(()), "{}: {answer:?}", function.name);
        let gone = kernel.ask(ActionKind::Unload, "forged")?;
        ensure!(gone == Ok(()), "{gone:?}");
    }
    Ok(())
}

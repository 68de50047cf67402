//! A load without a machine: the loader's own placing, relocating and judging, at both ends of
//! the window in which a payload may be placed. What passes here the loader takes, and what it
//! refuses it refuses here with the same error number.

use std::ops::Range;

use xsplice_abi::limits::PAGE_BYTES;
use xsplice_abi::section::FUNCS;
use xsplice_runtime::check::{CheckError, Fault};
use xsplice_runtime::place::{self, ACCESSES, Image};
use xsplice_runtime::platform::Region;
use xsplice_runtime::view::View;
use xsplice_runtime::{records, relocate, special};

use super::{Check, CheckKind, Lines, Subject};
use crate::base::{Base, Lookup, QualifiedName};

/// Where addresses start that 32 sign-extended bits can hold, for images linked up there.
const TOP_WINDOW_START: u64 = 0xffff_ffff_8000_0000;

pub(super) fn check(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::TrialLoad);
    let window = window(subject);
    let ends = [("lowest", End::Low), ("highest", End::High)];
    for (name, end) in ends {
        if let Err(error) = load(subject, &window, end) {
            lines.fail(
                error.errno(),
                format!("placed at the {name} address that the loader may choose: {error}"),
            );
        }
    }
    lines.pass("the loader's own code takes it at both ends of the window");
}

#[derive(Clone, Copy)]
enum End {
    Low,
    High,
}

/// Addresses that the payload's regions may cover: every part of the image is within the window's
/// size of every one of them.
fn window(subject: &Subject<'_, '_, '_>) -> Range<u64> {
    let image = image_span(subject.base);
    let bytes = subject.facts.abi.window_bytes;
    let low = image.end.saturating_sub(bytes).max(PAGE_BYTES);
    let high = image.start.saturating_add(bytes);
    // An image in the top 2 GiB is addressed by 32 sign-extended bits, so its loader stays there.
    let low = if image.start >= TOP_WINDOW_START {
        low.max(TOP_WINDOW_START)
    } else {
        low
    };
    low.next_multiple_of(PAGE_BYTES)..high & !(PAGE_BYTES - 1)
}

fn image_span(base: &Base<'_>) -> Range<u64> {
    let start = base.sections().first().map_or(0, |one| one.range.start);
    let ends = base.sections().iter().map(|one| one.range.end);
    start..ends.max().unwrap_or(start)
}

fn load<'data>(
    subject: &Subject<'_, '_, 'data>,
    window: &Range<u64>,
    end: End,
) -> Result<(), CheckError<'data>> {
    let view: &View<'data> = subject.facts.view;
    let abi = subject.facts.abi;
    let layout = place::lay_out(view)?;
    let sizes = ACCESSES.map(|access| layout.region_bytes(access));
    let total = sizes
        .iter()
        .fold(0_u64, |sum, size| sum.saturating_add(*size));
    let mut next = match end {
        End::Low => window.start,
        End::High => window.end.saturating_sub(total),
    };
    let regions = sizes.map(|bytes| {
        let region = Region {
            address: next,
            bytes,
        };
        next = next.saturating_add(bytes);
        (bytes != 0).then_some(region)
    });
    let mut image = Image::new(view, layout, regions)?;
    let below = window.start;
    let resolve = |name: &str| resolve(subject, name, below);
    let addresses = relocate::addresses(view, &image, resolve)?;
    relocate::apply(view, abi, &addresses, &mut image)?;
    special::apply_alternatives(view, &mut image, |_| false)?;
    let records = records::records(view, abi, &image, resolve)?;
    let section = view
        .named(abi.prefix, FUNCS)
        .map_or("", |(_, section)| section.name);
    let text = super::records::text_span(subject.base);
    records::targets(&records, section, &text, |_, _| false)?;
    records::disjoint(&records, section)?;
    records::words(view, abi, &image)?;
    special::exceptions(view, &image)?;
    special::bug_frames(view, abi, &image)?;
    special::hooks(view, abi, &image)?;
    Ok(())
}

/// As the loader resolves, but that a payload below is somewhere in the window: at its start.
fn resolve(subject: &Subject<'_, '_, '_>, name: &str, below: u64) -> Result<u64, Fault> {
    match subject.base.lookup(QualifiedName::parse(name)) {
        Lookup::Found(symbol) => Ok(symbol.address),
        Lookup::Ambiguous(_) => Err(Fault::SymbolAmbiguous),
        Lookup::Absent => {
            let is_below = subject
                .stack
                .iter()
                .any(|facts| facts.defined().any(|symbol| symbol.name == name));
            if is_below {
                Ok(below)
            } else {
                Err(Fault::SymbolUnknown)
            }
        }
    }
}

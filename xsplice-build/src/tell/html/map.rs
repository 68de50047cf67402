//! The picture of where the patch lands: the base's memory above, the payload below, a line from
//! each replaced function to its new code.
//!
//! The strips are drawn without a common scale (a payload is a thousandth of its base), and
//! carry no text, so that the picture can be squeezed to any width; the legend is HTML.

use std::collections::HashMap;
use std::fmt::Write;

use xsplice_diff::html::Findings;
use xsplice_diff::html::changes::Function;
use xsplice_diff::html::evidence::table;
use xsplice_diff::html::text::{Text, code, count, size_u64};
use xsplice_link::base::BaseSection;
use xsplice_link::layout::record::RecordPlan;

use super::Page;

/// Width of the drawing, in its own units.
const WIDTH: f64 = 1000.0;
/// Least width of a section or region, so that it can be seen.
const WIDTH_MIN: f64 = 6.0;
/// Width of a replaced function, large enough to click on.
const MARK_WIDTH: f64 = 3.0;
/// Space between two sections.
const GAP: f64 = 1.0;

/// A replaced function, at its address in the base.
type Landing<'a> = (u64, &'a Function<'a>);

/// One segment of a strip.
struct Segment<'a> {
    name: &'a str,
    /// For the new code of a function: which one. Names may occur twice.
    anchor: Option<&'a str>,
    class: &'static str,
    start: u64,
    bytes: u64,
    x: f64,
    width: f64,
}

pub(super) fn chapter(
    page: &Page<'_>,
    findings: &Findings<'_>,
    plans: &[Option<&RecordPlan>],
) -> String {
    let Some(linked) = page.linked else {
        return String::new();
    };
    let base = spread(linked.base.sections().iter().map(base_piece).collect());
    let payload = spread(payload_pieces(page, &findings.functions));
    let landings: Vec<Landing<'_>> = findings
        .functions
        .iter()
        .zip(plans)
        .filter_map(|(function, plan)| Some(((*plan)?.old_addr, function)))
        .collect();
    let mut out = String::from(
        "<figure class=\"map\"><figcaption>Base image, by address</figcaption>\
         <svg viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Where replaced functions lie in the base, and their new code in the \
         payload\">",
    );
    strip(&mut out, &base, 0.0);
    strip(&mut out, &payload, 156.0);
    let targets: HashMap<&str, &Segment<'_>> = payload
        .iter()
        .filter_map(|segment| Some((segment.anchor?, segment)))
        .collect();
    for (old_addr, function) in &landings {
        if let Some(new) = targets.get(function.anchor.as_str()) {
            link(&mut out, (*old_addr, function), &base, new);
        }
    }
    out.push_str(
        "</svg><figcaption>Payload, enlarged: the loader places it within 2 GiB of the \
                  base</figcaption>",
    );
    legend(&mut out, &base, &payload);
    out.push_str("</figure>");
    addresses(&mut out, landings, linked.base.sections());
    out
}

fn base_piece<'a>(section: &'a BaseSection<'_>) -> Segment<'a> {
    let class = if section.is_executable() {
        "text"
    } else if section.flags & WRITE != 0 {
        "rw"
    } else {
        "ro"
    };
    piece(
        section.name,
        class,
        section.range.start,
        section.range.end - section.range.start,
    )
}

/// `SHF_WRITE`.
const WRITE: u64 = 1;

fn piece<'a>(name: &'a str, class: &'static str, start: u64, bytes: u64) -> Segment<'a> {
    Segment {
        name,
        anchor: None,
        class,
        start,
        bytes,
        x: 0.0,
        width: 0.0,
    }
}

/// The new code function by function, then the other regions of the payload.
fn payload_pieces<'a>(page: &Page<'a>, functions: &'a [Function<'_>]) -> Vec<Segment<'a>> {
    let mut pieces: Vec<Segment<'a>> = functions
        .iter()
        .map(|function| Segment {
            anchor: Some(&function.anchor),
            ..piece(&function.change.name, "text", 0, function.change.new_size)
        })
        .collect();
    let Some(linked) = page.linked else {
        return pieces;
    };
    for (region, class) in [("rw", "rw"), ("ro", "ro")] {
        let sections = linked.inspection.sections.iter();
        pieces.extend(
            sections
                .filter(|section| section.region == region && section.size > 0)
                .map(|section| piece(&section.name, class, 0, section.size)),
        );
    }
    pieces
}

/// Gives every segment its place: as wide as its share, but wide enough to be seen.
fn spread(mut pieces: Vec<Segment<'_>>) -> Vec<Segment<'_>> {
    pieces.retain(|piece| piece.bytes > 0);
    let total: f64 = pieces.iter().map(|piece| weight(piece.bytes)).sum();
    let count = weight(u64::try_from(pieces.len()).unwrap_or(u64::MAX));
    let free = (WIDTH - count * (WIDTH_MIN.min(WIDTH / (2.0 * count.max(1.0))) + GAP)).max(0.0);
    let least = WIDTH_MIN.min(WIDTH / (2.0 * count.max(1.0)));
    let mut x = 0.0;
    for piece in &mut pieces {
        piece.x = x;
        piece.width = least + free * weight(piece.bytes) / total.max(1.0);
        x += piece.width + GAP;
    }
    pieces
}

/// A size as a number to draw with: nothing is decided by it, so that rounding does not matter.
fn weight(bytes: u64) -> f64 {
    let high = u32::try_from(bytes >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(bytes & 0xffff_ffff).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

fn strip(out: &mut String, segments: &[Segment<'_>], y: f64) {
    for segment in segments {
        let _ = write!(
            out,
            "<rect class=\"{}\" x=\"{:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"44\"><title>{} · \
             {}</title></rect>",
            segment.class,
            segment.x,
            segment.width,
            Text(segment.name),
            size_u64(segment.bytes)
        );
    }
}

/// From a replaced function in the base to its new code. Whoever uses the keyboard has the same
/// links in the list of addresses, and would have to pass all of these to come to it.
fn link(out: &mut String, landing: Landing<'_>, base: &[Segment<'_>], new: &Segment<'_>) {
    let (old_addr, function) = landing;
    let Some(home) = base
        .iter()
        .find(|segment| old_addr.wrapping_sub(segment.start) < segment.bytes)
    else {
        return;
    };
    let share = weight(old_addr - home.start) / weight(home.bytes);
    let from = (home.x + home.width * share).min(WIDTH - MARK_WIDTH);
    let middle = from + MARK_WIDTH / 2.0;
    let to = new.x + new.width / 2.0;
    let _ = write!(
        out,
        "<a href=\"#{}\" tabindex=\"-1\"><title>{} at {:#x}</title>\
         <path d=\"M{middle:.2} 44C{middle:.2} 104 {to:.2} 96 {to:.2} 156\"/>\
         <rect class=\"mark\" x=\"{from:.2}\" y=\"0\" width=\"{MARK_WIDTH}\" height=\"44\"/></a>",
        function.anchor,
        Text(&function.change.name),
        old_addr
    );
}

fn legend(out: &mut String, base: &[Segment<'_>], payload: &[Segment<'_>]) {
    out.push_str("<ul class=\"legend\">");
    for (class, what) in [
        ("text", "code"),
        ("ro", "read-only data"),
        ("rw", "writable data"),
    ] {
        let sum = |segments: &[Segment<'_>]| -> u64 {
            let of_class = segments.iter().filter(|segment| segment.class == class);
            of_class.fold(0, |sum, segment| sum.saturating_add(segment.bytes))
        };
        let _ = write!(
            out,
            "<li><span class=\"chip {class}\"></span>{what}: {} in the base, {} in the \
             payload</li>",
            size_u64(sum(base)),
            size_u64(sum(payload))
        );
    }
    out.push_str("<li><span class=\"chip mark\"></span>replaced function</li></ul>");
}

/// The same as the picture, for those who cannot see it.
fn addresses(out: &mut String, mut replaced: Vec<Landing<'_>>, sections: &[BaseSection<'_>]) {
    replaced.sort_by_key(|(address, _)| *address);
    if replaced.is_empty() {
        return;
    }
    let rows = replaced.iter().map(|(address, function)| {
        let section = sections
            .iter()
            .find(|section| section.range.contains(address))
            .map_or("", |section| section.name);
        vec![
            format!("<code>{address:#x}</code>"),
            format!(
                "<a href=\"#{}\"><code>{}</code></a>",
                function.anchor,
                Text(&function.change.name)
            ),
            code(section),
        ]
    });
    let _ = write!(
        out,
        "<details><summary>Addresses of {}</summary>{}</details>",
        count(replaced.len(), "replaced function"),
        table(&["Address", "Function", "Section"], rows)
    );
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, piece, spread};

    #[test]
    fn a_strip_fits_and_its_smallest_piece_can_be_seen() {
        for count in [1_usize, 3, 40, 2000] {
            let mut pieces: Vec<_> = (0..count).map(|_| piece("a", "text", 0, 1)).collect();
            pieces[0].bytes = 1 << 40;
            let strip = spread(pieces);
            let last = strip.last().expect("there are pieces");
            assert!(last.width > 0.0);
            if count <= 40 {
                assert!(last.x + last.width <= WIDTH + 0.01, "{count}");
            }
        }
    }

    #[test]
    fn empty_pieces_take_no_room() {
        assert!(spread(vec![piece("a", "text", 0, 0)]).is_empty());
    }
}

//! A resource limit: how large the description of an object's functions would become, computed
//! before it is made.
//!
//! The description of a function includes the constants that it refers to, and the constants that
//! those refer to, so that the linker does not need the object. A table that many functions use is
//! described once for all of them. But a table of pointers to itself would be described N^depth
//! times for N entries. Compilers do not emit such tables; a small malicious file with one must not
//! exhaust memory. So references from constants to constants are counted.

use std::collections::HashMap;

use crate::extract::CONTENT_DEPTH_MAX;
use crate::read::error::{ObjectProblem, Part};
use crate::read::items::{ItemId, ItemKind};
use crate::read::side::Build;
use crate::read::side::is_content;

/// References that may always be described, whatever the object's size.
const REFERENCES: u64 = 8 << 10;
/// Times that each relocation of the object may be described, on average.
const TIMES_A_RELOCATION: u64 = 8;
/// Bytes of constants that may always be described, whatever the object's size.
const CONTENT_BYTES: u64 = 1 << 20;
/// Times that each byte of the object may be described, on average.
const TIMES_A_BYTE: u64 = 16;

/// Cost of a description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    references: u64,
    content_bytes: u64,
}

impl Size {
    fn add(&mut self, other: Size) {
        self.references = self.references.saturating_add(other.references);
        self.content_bytes = self.content_bytes.saturating_add(other.content_bytes);
    }
}

/// Refuses an object whose description would be disproportionately large.
///
/// # Errors
///
/// [`ObjectProblem::Malformed`] when the description would be too large.
pub fn check(build: &Build<'_>) -> Result<(), ObjectProblem> {
    let relocations = build.object.relocations.len() as u64;
    let object_bytes: u64 = build
        .object
        .sections
        .iter()
        .map(|section| section.data.len() as u64)
        .sum();
    let most = Size {
        references: REFERENCES.saturating_add(relocations.saturating_mul(TIMES_A_RELOCATION)),
        content_bytes: CONTENT_BYTES.saturating_add(object_bytes.saturating_mul(TIMES_A_BYTE)),
    };
    let mut known = HashMap::new();
    let mut total = Size::default();
    for item in build.items.ids() {
        if build.items.item(item).kind != ItemKind::Function {
            continue;
        }
        total.add(size(build, item, 0, &mut known));
        if total.references > most.references || total.content_bytes > most.content_bytes {
            return Err(ObjectProblem::Malformed {
                part: Part::Relocations,
                detail: format!(
                    "the constants that {} refers to refer to one another without end",
                    build.shown(item)
                ),
            });
        }
    }
    Ok(())
}

/// Cost of describing `item` when it is `depth` references away from a function.
fn size(
    build: &Build<'_>,
    item: ItemId,
    depth: usize,
    known: &mut HashMap<(ItemId, usize), Size>,
) -> Size {
    if let Some(size) = known.get(&(item, depth)) {
        return *size;
    }
    /// A constant that a constant of a function refers to.
    const NESTED_DEPTH: usize = 2;
    let is_nested = depth >= NESTED_DEPTH;
    let mut total = Size::default();
    for (_, target) in build.relocations(item) {
        total.references = total.references.saturating_add(u64::from(is_nested));
        let content = target
            .item()
            .filter(|content| is_content(build, *content) && depth < CONTENT_DEPTH_MAX);
        if let Some(content) = content {
            if is_nested {
                let bytes = build.bytes(content).len() as u64;
                total.content_bytes = total.content_bytes.saturating_add(bytes);
            }
            // Most constants are strings, which refer to nothing.
            if !build.relocation_range(content).is_empty() {
                total.add(size(build, content, depth + 1, known));
            }
        }
    }
    if depth > 0 {
        known.insert((item, depth), total);
    }
    total
}

//! Refuses two objects that were compiled for different branch protection.
//!
//! Compilers record in each object which protections all of its functions support
//! (`.note.gnu.property`): indirect branch tracking (IBT), shadow stacks (SHSTK). In a base that
//! tracks indirect branches, a function without `endbr64` stops the machine at the first call
//! through a pointer, and a payload's notes are not checked. Different notes also mean that the two
//! trees were built differently, so that functions differ that the patch does not touch.

use object::LittleEndian;
use object::elf::{FileHeader64, GNU_PROPERTY_X86_FEATURE_1_AND};
use object::read::elf::NoteIterator;

use crate::read::side::Build;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

const NOTES: &str = ".note.gnu.property";
/// Bits of `GNU_PROPERTY_X86_FEATURE_1_AND` and what processors' manuals call them.
const FEATURES: [(u32, &str); 2] = [(1 << 0, "IBT"), (1 << 1, "SHSTK")];

/// Compares the notes of two builds in which a function differs.
pub fn check(original: &Build<'_>, patched: &Build<'_>, verdicts: &mut Verdicts) {
    let (old, new) = (features(original), features(patched));
    if old != new {
        verdicts.refuse(
            RefusalCode::ObjectsDiffer,
            Place::section(NOTES),
            &format!(
                "the original was compiled for {} and the patched object for {}; build both \
                 trees with the same -fcf-protection",
                shown(old),
                shown(new)
            ),
        );
    }
}

/// The features that an object notes; none when it has no such note, or one that cannot be read.
fn features(build: &Build<'_>) -> u32 {
    let mut features = 0;
    for (_, section) in build.object.sections() {
        if section.name != NOTES {
            continue;
        }
        let Ok(notes) = NoteIterator::<FileHeader64<LittleEndian>>::new(
            LittleEndian,
            section.alignment,
            section.data,
        ) else {
            continue;
        };
        for note in notes.map_while(Result::ok) {
            let Some(properties) = note.gnu_properties(LittleEndian) else {
                continue;
            };
            for property in properties.map_while(Result::ok) {
                if property.pr_type() == GNU_PROPERTY_X86_FEATURE_1_AND {
                    features |= property.data_u32(LittleEndian).unwrap_or(0);
                }
            }
        }
    }
    features
}

fn shown(features: u32) -> String {
    let names: Vec<&str> = FEATURES
        .iter()
        .filter(|(bit, _)| features & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        "neither IBT nor SHSTK".to_owned()
    } else {
        names.join(" and ")
    }
}

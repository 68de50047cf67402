//! Refuses two objects that were compiled for different branch protection.
//!
//! Compilers record in each object which protections all of its functions support
//! (`.note.gnu.property`): indirect branch tracking (IBT), shadow stacks (SHSTK). In a base that
//! tracks indirect branches, a function without `endbr64` stops the machine at the first call
//! through a pointer, and a payload's notes are not checked. Different notes also mean that the two
//! trees were built differently, so that functions differ that the patch does not touch.

use xsplice_abi::machine::OF_RUNTIME;
use xsplice_abi::{note, section};

use crate::read::side::Build;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Compares the notes of two builds in which a function differs.
pub fn check(original: &Build<'_>, patched: &Build<'_>, verdicts: &mut Verdicts) {
    let (old, new) = (features(original), features(patched));
    if old != new {
        verdicts.refuse(
            RefusalCode::ObjectsDiffer,
            Place::section(section::PROPERTY),
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
    let noted = build
        .object
        .sections()
        .filter(|(_, section)| section.name == section::PROPERTY);
    noted.fold(0, |features, (_, section)| {
        features | note::property_bits(section.data, OF_RUNTIME.protection.property)
    })
}

fn shown(features: u32) -> String {
    let names: Vec<&str> = OF_RUNTIME
        .protection
        .features
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

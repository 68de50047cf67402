//! Refuses two objects that were compiled for different branch protection.
//!
//! Compilers record in each object which protections all of its functions support
//! (`.note.gnu.property`): indirect branch tracking (IBT), shadow stacks (SHSTK). In a base that
//! tracks indirect branches, a function without `endbr64` stops the machine at the first call
//! through a pointer, and a payload's notes are not checked. Different notes also mean that the two
//! trees were built differently, so that functions differ that the patch does not touch.

use xsplice_abi::{note, section};

use crate::machine::Machine;
use crate::read::side::Build;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Compares the notes of two builds in which a function differs.
pub(crate) fn check(original: &Build<'_>, patched: &Build<'_>, verdicts: &mut Verdicts) {
    let (old, new) = (features(original), features(patched));
    if old != new {
        verdicts.refuse(
            RefusalCode::ObjectsDiffer,
            Place::section(section::PROPERTY),
            &format!(
                "the original was compiled for {} and the patched object for {}; build both \
                 trees with the same -fcf-protection",
                shown(patched.object.machine, old),
                shown(patched.object.machine, new)
            ),
        );
    }
}

/// The features that an object notes; none when it has no such note, or one that cannot be read.
fn features(build: &Build<'_>) -> u32 {
    let property = build.object.machine.protection.property;
    let noted = build
        .object
        .sections()
        .filter(|(_, section)| section.name == section::PROPERTY);
    noted.fold(0, |features, (_, section)| {
        features | note::property_bits(section.data, property)
    })
}

fn shown(machine: &Machine, features: u32) -> String {
    let named = |is_wanted: fn(u32) -> bool| -> Vec<&str> {
        let all = machine.protection.features.iter();
        all.filter(|(bit, _)| is_wanted(features & bit))
            .map(|(_, name)| *name)
            .collect()
    };
    let names = named(|set| set != 0);
    if names.is_empty() {
        format!("neither {}", named(|set| set == 0).join(" nor "))
    } else {
        names.join(" and ")
    }
}

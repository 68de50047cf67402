//! What people call the targets of fields.

use super::compare::Found;
use super::{Follower, Place};
use crate::read::tree::Target;

impl Follower<'_, '_> {
    /// Where a field leads in the build.
    pub(super) fn wanted(&self, target: &Target<'_>) -> String {
        match target {
            Target::Item { item, delta } => format!("{}{delta:+#x}", self.tree.shown(*item)),
            Target::Content { bytes, .. } => format!("{:?}", String::from_utf8_lossy(bytes)),
            Target::Name { name, delta, .. } => format!("{name}{delta:+#x}"),
            Target::Number(number) => format!("{number:#x}"),
            Target::Empty { .. } | Target::Nothing => "a place without bytes".to_owned(),
            Target::Unclear => "a place that cannot be told".to_owned(),
        }
    }

    /// What people call a place.
    pub(crate) fn shown(&self, place: Place) -> String {
        self.describe(&Found::Place(place))
    }

    /// Where it leads at the place.
    pub(super) fn describe(&self, found: &Found<'_>) -> String {
        match found {
            Found::Name(name, delta) => format!("{name}{delta:+#x}"),
            Found::Place(Place::Base(address)) => self.image.describe(*address),
            Found::Place(Place::Payload(id, offset)) => match self.payload {
                Some(payload) => format!(
                    "{}+{offset:#x} of the payload",
                    payload.elf.section(*id).name
                ),
                None => "the payload".to_owned(),
            },
        }
    }
}

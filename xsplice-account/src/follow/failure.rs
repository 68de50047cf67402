//! Where an item and a place differ, and the sentence about it.

/// Where an item and a place differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Offset in the item, in bytes.
    pub offset: u64,
    /// What differs there.
    pub mismatch: Mismatch,
}

impl Failure {
    /// What differs, for people.
    #[must_use]
    pub(crate) fn sentence(&self) -> String {
        match &self.mismatch {
            Mismatch::Outside => "the place ends before it does".to_owned(),
            Mismatch::Byte { wanted, found } => {
                format!("the build has {wanted:02x}, and there is {found:02x}")
            }
            Mismatch::Target { wanted, found } => {
                format!("the build refers to {wanted}, and there is a reference to {found}")
            }
            Mismatch::Placement { what } => what.clone(),
            Mismatch::Unknown => "a field cannot be followed".to_owned(),
        }
    }
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The image or payload ends before the item does.
    Outside,
    /// A byte.
    Byte {
        /// The item's.
        wanted: u8,
        /// The place's.
        found: u8,
    },
    /// Where a field leads.
    Target {
        /// In the build.
        wanted: String,
        /// At the place.
        found: String,
    },
    /// The place belongs to another section or object, or is not aligned.
    Placement {
        /// The sentence's end.
        what: String,
    },
    /// A field that cannot be followed.
    Unknown,
}

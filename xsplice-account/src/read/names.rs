//! Names of sections.

/// Whether a section has this name, or this name, a dot and more. A section that only begins with
/// the same letters is another one: `.notebook` is no note.
#[must_use]
pub(crate) fn is_of(family: &str, name: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

//! Names of sections and symbols.

/// Whether a section has this name, or this name, a dot and more. A section that only begins with
/// the same letters is another one: `.notebook` is no note.
#[must_use]
pub(crate) fn is_of(family: &str, name: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What stands in names that a counter or a digest of the compilation ends.
const COUNTED: [&str; 3] = ["__UNIQUE_ID_", ".llvm.", ".lto_priv."];

/// Whether two names may be one that was made up anew in each build: both are, and nothing but
/// digits tells them apart.
///
/// Shortcut S31: a counter or a digest of the compilation ends these names, and each build has but
/// one of the two.
#[must_use]
pub(crate) fn are_made_up_alike(one: &str, other: &str) -> bool {
    let is_counted = |name: &str| COUNTED.iter().any(|mark| name.contains(mark));
    let letters = |name: &str| -> String {
        let kept = name.chars().filter(|letter| !letter.is_ascii_digit());
        kept.collect()
    };
    is_counted(one) && is_counted(other) && letters(one) == letters(other)
}

/// A name without what a compiler appends to tell equal names apart.
#[must_use]
pub(crate) fn without_number(name: &str) -> &str {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match name.rsplit_once('.') {
        Some((stem, number)) if digits(number) => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::are_made_up_alike;

    #[test]
    fn only_names_that_a_counter_ends_are_alike_without_their_digits() {
        assert!(are_made_up_alike(
            "__UNIQUE_ID_x107.0",
            "__UNIQUE_ID_x207.1"
        ));
        assert!(are_made_up_alike("v.llvm.12", "v.llvm.9000"));
        assert!(!are_made_up_alike("counter1", "counter2"));
        assert!(!are_made_up_alike("__UNIQUE_ID_x107", "__UNIQUE_ID_y107"));
        assert!(!are_made_up_alike("v.llvm.12", "v12"));
    }
}

//! Suffixes that compilers append to names: numbers of static locals, marks of clones and of
//! out-of-line parts. The numbers change with unrelated edits, so items are never paired by them
//! alone.

/// Marks of function clones, each followed by a number (gcc; `.llvm.` is clang's).
const CLONE_MARKS: [&str; 6] = [
    ".isra.",
    ".constprop.",
    ".part.",
    ".llvm.",
    ".specialized.",
    ".lto_priv.",
];

/// The function that `name` is the out-of-line part of: `f` for `f.cold` and `f.cold.1`.
#[must_use]
pub fn cold_parent(name: &str) -> Option<&str> {
    let name = without_number(name).unwrap_or(name);
    name.strip_suffix(".cold")
        .or_else(|| name.strip_suffix(".unlikely"))
        .filter(|parent| !parent.is_empty())
}

/// `name` without a trailing number, if it has one: `cnt` for `cnt.3`.
#[must_use]
pub(crate) fn without_number(name: &str) -> Option<&str> {
    let (base, number) = name.rsplit_once('.')?;
    (!base.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then_some(base)
}

/// How names begin that a counter of the compilation ends.
const UNIQUE: &str = "__UNIQUE_ID_";

/// The name without what a compiler or a counter appended: `cnt` for `cnt.3`, `v` for `v.llvm.12`,
/// `__UNIQUE_ID_x` for `__UNIQUE_ID_x120.0`.
#[must_use]
pub(crate) fn given(name: &str) -> &str {
    let mut given = name;
    while let Some(rest) = without_number(given) {
        given = rest
            .strip_suffix(".llvm")
            .or_else(|| rest.strip_suffix(".lto_priv"))
            .filter(|rest| !rest.is_empty())
            .unwrap_or(rest);
    }
    if given.contains(UNIQUE) {
        given = given.trim_end_matches(|last: char| last.is_ascii_digit());
    }
    given
}

/// Whether a name ends in a number that a compiler or a counter of the compilation chose, so that
/// it may be another one in another build.
#[must_use]
pub(crate) fn is_numbered(name: &str) -> bool {
    is_clone(name) || without_number(name).is_some() || name.contains(UNIQUE)
}

/// Whether `name` is that of a clone: `f.constprop.0`, `f.part.1.isra.0`.
#[must_use]
pub(crate) fn is_clone(name: &str) -> bool {
    CLONE_MARKS.iter().any(|mark| name.contains(mark))
}

/// The name that the author wrote: everything before the first dot that a compiler added.
#[must_use]
pub fn root(name: &str) -> &str {
    match name.find('.') {
        Some(0) | None => name,
        Some(dot) => &name[..dot],
    }
}

/// The clone's name without its numbers: `f.part.isra` for `f.part.1.isra.0`. A `.llvm.` mark only
/// says that the function is shared, and is removed with its number.
#[must_use]
pub fn clone_family(name: &str) -> String {
    let mut family = String::with_capacity(name.len());
    for (index, part) in name.split('.').enumerate() {
        if index > 0 && (part == "llvm" || part.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        if index > 0 {
            family.push('.');
        }
        family.push_str(part);
    }
    family
}

/// Padding symbols that stand before a function and are not functions themselves.
#[must_use]
pub(crate) fn is_padding_name(name: &str) -> bool {
    name.starts_with("__pfx_")
}

/// The function whose type hash has this name, where indirect calls are checked (CFI). A function
/// may be called so too; the hash is one if that function begins at its end.
#[must_use]
pub(crate) fn hashed_function(name: &str) -> Option<&str> {
    name.strip_prefix("__cfi_")
}

/// Names that compilers give to constants of their own.
const OF_COMPILERS: [&str; 5] = [
    "__func__",
    "__FUNCTION__",
    "__PRETTY_FUNCTION__",
    "CSWTCH",
    "switch.table",
];

/// Whether a compiler gave a constant of its own this name. Clang's `reltable.FUNCTION` holds
/// distances from its own start, of which code makes other addresses; a static local of that name
/// ends in a number.
#[must_use]
pub(crate) fn is_of_compilers(name: &str) -> bool {
    let function = name.strip_prefix("reltable.");
    let is_relative = function.is_some_and(|rest| rest.bytes().any(|byte| !byte.is_ascii_digit()));
    is_relative || OF_COMPILERS.iter().any(|own| name.contains(own))
}

#[cfg(test)]
mod tests {
    use super::{clone_family, cold_parent, given, is_clone, is_numbered, root, without_number};

    #[test]
    fn an_out_of_line_part_names_its_parent() {
        assert_eq!(cold_parent("f.cold"), Some("f"));
        assert_eq!(cold_parent("f.cold.3"), Some("f"));
        assert_eq!(cold_parent("f.part.0.cold"), Some("f.part.0"));
        assert_eq!(cold_parent("f.part.0"), None);
        assert_eq!(cold_parent("scold"), None);
    }

    #[test]
    fn numbers_are_told_from_names() {
        assert_eq!(without_number("cnt.3"), Some("cnt"));
        assert_eq!(without_number("cnt.x"), None);
        assert_eq!(without_number(".3"), None);
        assert_eq!(root("f.constprop.0"), "f");
        assert_eq!(root(".LC0"), ".LC0");
    }

    #[test]
    fn what_a_counter_appended_is_no_name() {
        for (name, wanted) in [
            ("cnt", "cnt"),
            ("cnt.3", "cnt"),
            ("f.cnt", "f.cnt"),
            ("v.llvm.120", "v"),
            ("v.lto_priv.0", "v"),
            ("__UNIQUE_ID_d100", "__UNIQUE_ID_d"),
            ("__UNIQUE_ID_d100.0", "__UNIQUE_ID_d"),
            ("g.__UNIQUE_ID_d100", "g.__UNIQUE_ID_d"),
            ("f.part.0", "f.part"),
            ("x2", "x2"),
            (".3", ".3"),
        ] {
            assert_eq!(given(name), wanted);
            assert_eq!(is_numbered(name), name != wanted, "{name}");
        }
    }

    #[test]
    fn a_clone_family_has_no_numbers() {
        assert!(is_clone("f.part.1.isra.0"));
        assert_eq!(clone_family("f.part.1.isra.0"), "f.part.isra");
        assert_eq!(clone_family("f.llvm.123"), "f");
    }
}

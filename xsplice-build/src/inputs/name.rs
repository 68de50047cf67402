//! Chooses the payload's name: what the operator will type and the loader will list.

use std::path::Path;

use anyhow::{Result, bail};
use xsplice_abi::limits::NAME_BYTES_MAX;

/// The name for a payload: `given`, else the patch's file name without `.patch` or `.diff`, else
/// the name of the patched folder or object. Characters that are awkward in a shell become `-`.
///
/// # Errors
///
/// A `given` name that is empty, too long for the loader, or holds such characters.
pub(crate) fn choose(given: Option<&str>, patch: Option<&Path>, patched: &Path) -> Result<String> {
    if let Some(name) = given {
        if name.is_empty() || name.len() >= NAME_BYTES_MAX || name != tidy(name) {
            bail!(
                "--name {name:?}: a payload's name has 1 to {} letters, digits, '.', '-' or '_'",
                NAME_BYTES_MAX - 1
            );
        }
        return Ok(name.to_owned());
    }
    let path = patch.unwrap_or(patched);
    let stem = match path.extension().and_then(|extension| extension.to_str()) {
        Some("patch" | "diff" | "o") => path.file_stem(),
        _ => path.file_name(),
    };
    let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
    let stem = match stem {
        Some(stem) => stem,
        // A path such as `..` has no name of its own.
        None => path
            .canonicalize()
            .ok()
            .and_then(|path| {
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned())
            })
            .unwrap_or_default(),
    };
    let name: String = tidy(&stem).chars().take(NAME_BYTES_MAX - 1).collect();
    if name.is_empty() {
        bail!(
            "{}: no name for the payload follows from it; give one with --name",
            path.display()
        );
    }
    Ok(name)
}

fn tidy(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars()
        .map(|c| if keep(c) { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::choose;

    #[test]
    fn the_patch_names_the_payload_before_the_folder_does() {
        let patched = Path::new("build/fixed");
        assert_eq!(choose(None, None, patched).expect("a folder"), "fixed");
        let patch = Path::new("fixes/xsa 123.patch");
        assert_eq!(
            choose(None, Some(patch), patched).expect("a patch"),
            "xsa-123"
        );
        assert_eq!(
            choose(Some("mine"), Some(patch), patched).expect("given"),
            "mine"
        );
        assert_eq!(
            choose(None, None, Path::new("b/x.o")).expect("an object"),
            "x"
        );
    }

    #[test]
    fn a_name_that_the_loader_would_refuse_is_refused_here() {
        let patched = Path::new("fixed");
        assert!(choose(Some(""), None, patched).is_err());
        assert!(choose(Some(&"x".repeat(128)), None, patched).is_err());
        assert!(choose(Some(&"x".repeat(127)), None, patched).is_ok());
        assert!(choose(Some("a b"), None, patched).is_err());
    }
}

//! Which build a build-id, an image or a payload belongs to.

use std::path::Path;

use anyhow::{Result, bail};
use xsplice_link::BuildId;
use xsplice_link::command::input;
use xsplice_link::inspect::inspect;

use super::Store;
use super::record::BuildRecord;

/// Fewer digits are no build-id: names have such beginnings too.
const DIGITS_MIN: usize = 4;

/// Whether `text` is the beginning of a build-id.
pub(crate) fn is_begin_of_id(text: &str, build_id: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.len() >= DIGITS_MIN && build_id.starts_with(&text)
}

/// The builds that `what` names: digits of a build-id, an image, or a payload.
///
/// # Errors
///
/// A file that is neither, and when there is no such build.
pub(crate) fn find(store: &Store, what: &str) -> Result<Vec<BuildRecord>> {
    let path = Path::new(what);
    let wanted = if path.is_file() {
        id_of_file(path)?
    } else {
        what.to_owned()
    };
    let mut records = store.records()?;
    records.retain(|record| is_begin_of_id(&wanted, &record.build_id));
    if records.is_empty() {
        let of = if path.is_file() {
            format!("{what} is for {wanted}, which")
        } else {
            wanted
        };
        bail!("{of}: is in no build of {}", store.root().display());
    }
    Ok(records)
}

/// The build-id of the base that a file is, or is for.
fn id_of_file(path: &Path) -> Result<String> {
    let bytes = input::open(path)?;
    let text = path.display().to_string();
    // What is no payload is an image, or an error.
    let found = inspect(&text, &bytes).ok();
    match found.and_then(|payload| payload.base_id.or(payload.depends)) {
        Some(id) => Ok(id),
        None => Ok(BuildId::from_argument(&text, input::open_named)?.to_string()),
    }
}

/// Whether a build can be added: `true` when it is new, `false` when it is there just so.
///
/// # Errors
///
/// Another build has the name or the build-id.
pub(crate) fn check_free(records: &[BuildRecord], new: &BuildRecord) -> Result<bool> {
    if records.contains(new) {
        return Ok(false);
    }
    for record in records {
        if record.build_id == new.build_id {
            bail!(
                "{}: the store holds the build {} under this build-id, and it differs in {}; \
                 remove that one first",
                new.build_id,
                record.name,
                differences(record, new).join(", ")
            );
        }
        if record.name == new.name {
            bail!(
                "{}: the store holds another build of this name ({}); give another --name",
                new.name,
                record.short_id()
            );
        }
    }
    Ok(true)
}

fn differences(old: &BuildRecord, new: &BuildRecord) -> Vec<&'static str> {
    let differs = [
        ("name", old.name != new.name),
        ("make", old.make != new.make),
        ("base", old.base != new.base),
        ("source", old.source != new.source),
        ("objects", old.objects != new.objects),
    ];
    let differs = differs.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(what, _)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::is_begin_of_id;

    #[test]
    fn some_digits_of_either_case_are_enough() {
        let id = "c050cdc1bd5e40d3aa00";
        assert!(is_begin_of_id("c050", id) && is_begin_of_id("C050CDC1", id));
        assert!(is_begin_of_id(id, id));
        for text in ["", "c05", "c051", "c050cdc1bd5e40d3aa001"] {
            assert!(!is_begin_of_id(text, id), "{text}");
        }
    }
}

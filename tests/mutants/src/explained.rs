//! The list of changes that no test can catch, with the reasons.
//!
//! A line each: file, function, the line's text, what is changed, which of several alike, reason;
//! a tab between them. Numbers of lines are not in it, so that it lives on when the file grows.

use std::collections::HashMap;

use crate::change::Change;

/// What a change is known by: file, function, text, what, and which of several alike.
pub type Key = (String, String, String, String, usize);

/// The keys of changes, in their order.
#[must_use]
pub fn keys(changes: &[Change]) -> Vec<Key> {
    let mut seen: HashMap<(String, String, String, String), usize> = HashMap::new();
    let mut keys = Vec::new();
    for change in changes {
        let parts = (
            change.file.clone(),
            change.function.clone(),
            change.text.clone(),
            change.what.clone(),
        );
        let count = seen.entry(parts.clone()).or_default();
        *count += 1;
        keys.push((parts.0, parts.1, parts.2, parts.3, *count));
    }
    keys
}

/// The line of the list for a change, without its reason.
#[must_use]
pub fn line(key: &Key) -> String {
    format!("{}\t{}\t{}\t{}\t{}\t", key.0, key.1, key.2, key.3, key.4)
}

/// Reads the list: each key with its reason. Empty lines and those that begin with `#` are none.
#[must_use]
pub fn read(text: &str) -> HashMap<Key, String> {
    let mut found = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split('\t').collect();
        let [file, function, text, what, which, reason] = parts[..] else {
            continue;
        };
        let Ok(which) = which.parse() else { continue };
        let key = (
            file.to_owned(),
            function.to_owned(),
            text.to_owned(),
            what.to_owned(),
            which,
        );
        found.insert(key, reason.to_owned());
    }
    found
}

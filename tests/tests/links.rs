//! The documents hang together: every link leads to a file and a heading that are there, and the
//! book has every document.

use std::fs;
use std::path::{Path, PathBuf};

use xsplice_tests::book::{self, Link, headings, links, pages, resolve};
use xsplice_tests::workspace;

/// Every document of the root and of `docs`, relative to the root.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![
        "README.md".into(),
        "DESIGN.md".into(),
        "CHANGELOG.md".into(),
    ];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(workspace().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// What is wrong with a link of a document in this folder; `None` where nothing is.
fn fault(root: &Path, document: &Path, text: &str, link: &Link) -> Option<&'static str> {
    let (file, heading) = link.parts();
    let target = root.join(resolve(document.parent().unwrap(), file));
    let there = if file.is_empty() {
        text.to_owned()
    } else if !target.exists() {
        return Some("no such file");
    } else if heading.is_some() {
        fs::read_to_string(&target).unwrap()
    } else {
        return None;
    };
    let heading = heading?;
    let has = headings(&there).iter().any(|one| one == heading);
    (!has).then_some("no such heading")
}

#[test]
fn every_link_leads_to_what_is_there() {
    let root = workspace();
    let mut count = 0;
    let mut faults = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(root.join(&document)).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.is_foreign()) {
            count += 1;
            if let Some(fault) = fault(&root, &document, &text, &link) {
                let (document, line) = (document.display(), link.line);
                faults.push(format!("{document}:{line}: {}: {fault}", link.target));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 80, "{count} links");
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let root = workspace();
    let document = Path::new("docs/verify.md");
    let text = "# One, and two\n\n[a](nowhere.md) [b](#one-and-two) [c](#three)\n\
                [d](../DESIGN.md#map)\n```\n[e](in-code.md)\n```\n[f](json.md#nothing)\n";
    let faults: Vec<_> = links(text)
        .iter()
        .map(|link| fault(&root, document, text, link))
        .collect();
    let (file, heading) = (Some("no such file"), Some("no such heading"));
    assert_eq!(faults, [file, None, heading, None, heading]);
}

#[test]
fn the_book_has_every_document_once() {
    let mut expected = documents();
    expected.retain(|path| path != Path::new(book::SUMMARY));
    expected.sort();
    let mut in_book = pages(&workspace()).unwrap();
    in_book.sort();
    assert_eq!(in_book, expected);
}

#[test]
fn links_of_the_book_lead_to_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    book::write_sources(&workspace(), folder.path()).unwrap();
    let read = |page: &str| fs::read_to_string(folder.path().join(page)).unwrap();
    assert!(read("index.md").contains("](fixes/index.md)"));
    assert!(read("SUMMARY.md").contains("](index.md)"));
    assert!(read("fixes/layout.md").contains("](../patch-author-guide.md#5-shadow-variables)"));
    assert!(read("many-builds.md").contains("](ci/hotpatch-many.mk)"));
    // Of what is not in the book the words are left.
    let rules = read("rules.md");
    assert!(rules.contains("\nWhere: `xsplice-diff/src/read/object.rs`\n"));
    assert!(!rules.contains("](../"));
    let mut count = 0;
    let mut open = vec![folder.path().to_owned()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(&inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let page = path.strip_prefix(folder.path()).unwrap();
            for link in links(&text).iter().filter(|link| !link.is_foreign()) {
                count += 1;
                let wrong = fault(folder.path(), page, &text, link);
                assert_eq!(wrong, None, "{}: {}", page.display(), link.target);
            }
        }
    }
    assert!(count > 80, "{count} links");
}

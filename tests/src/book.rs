//! The documents as one book: which they are, and where a link between them leads.
//!
//! README.md, DESIGN.md and CHANGELOG.md stand in the root, where readers of the repository look,
//! the others in `docs`. A book has one folder of pages, so links are rewritten on the way there.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// Where the table of contents stands.
pub const SUMMARY: &str = "docs/SUMMARY.md";
/// The pages that are in the root of the repository, and not in `docs`.
const IN_ROOT: [&str; 3] = ["README.md", "DESIGN.md", "CHANGELOG.md"];
const DOCS: &str = "docs";
/// Folders of `docs` whose files are no pages, and are in the book as they are.
const FILES: [&str; 2] = ["images", "ci"];
/// What opens a folder, here and in the book.
const README: &str = "README.md";
const INDEX: &str = "index.md";

/// A link in a document: `[text](target)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The line that it is on, from 1.
    pub line: usize,
    /// What stands in the parentheses.
    pub target: String,
}

impl Link {
    /// Whether it leads out of the repository.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.target.contains("://") || self.target.starts_with("mailto:")
    }

    /// The file, relative to the document, and the heading that it leads to.
    #[must_use]
    pub fn parts(&self) -> (&str, Option<&str>) {
        match self.target.split_once('#') {
            Some((file, heading)) => (file, Some(heading)),
            None => (&self.target, None),
        }
    }
}

/// The links of a document, those in blocks of code left out.
#[must_use]
pub fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, text) in prose(text) {
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once("](") {
            let Some((target, behind)) = behind.split_once(')') else {
                break;
            };
            found.push(Link {
                line,
                target: target.to_owned(),
            });
            rest = behind;
        }
    }
    found
}

/// The names by which links lead to the headings of a document, as GitHub and mdBook make them:
/// lower case, hyphens for spaces, letters, digits, hyphens and underscores alone.
#[must_use]
pub fn headings(text: &str) -> Vec<String> {
    prose(text)
        .filter_map(|(_, line)| {
            line.trim_start_matches('#')
                .strip_prefix(' ')
                .map(|heading| (line, heading))
        })
        .filter(|(line, _)| line.starts_with('#'))
        .map(|(_, heading)| {
            heading
                .trim()
                .to_lowercase()
                .chars()
                .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
                .map(|letter| if letter == ' ' { '-' } else { letter })
                .collect()
        })
        .collect()
}

/// The lines of a document that are no code, each with its number.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// The documents that the table of contents names, relative to the root of the repository.
///
/// # Errors
///
/// When it cannot be read.
pub fn pages(root: &Path) -> Result<Vec<PathBuf>> {
    let summary = fs::read_to_string(root.join(SUMMARY)).context(SUMMARY)?;
    Ok(links(&summary)
        .iter()
        .map(|link| resolve(Path::new(DOCS), &link.target))
        .collect())
}

/// A path relative to a folder, without `.` and `..`.
#[must_use]
pub fn resolve(folder: &Path, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => path.push(part),
        }
    }
    path
}

/// Where a page of the repository is in the book; `None` for what is no page of it. A page that
/// opens a folder is its `index`: mdBook gives that name to READMEs, but not to the links to them.
fn place(page: &Path) -> Option<PathBuf> {
    let is_in_root = IN_ROOT.iter().any(|name| page == Path::new(name));
    let place = if is_in_root {
        page
    } else {
        page.strip_prefix(DOCS).ok()?
    };
    Some(match place.file_name() {
        Some(name) if name == README => place.with_file_name(INDEX),
        _ => place.to_path_buf(),
    })
}

/// Writes the sources of the book below `out`: the pages with their links rewritten, and the files
/// of `docs` that are no pages. What a link of the repository leads to besides, such as a source
/// file, is not in the book; there only the words of the link are left.
///
/// # Errors
/// When a page is missing, or cannot be written.
pub fn write_sources(root: &Path, out: &Path) -> Result<()> {
    let mut pages = pages(root)?;
    pages.push(SUMMARY.into());
    for page in &pages {
        let mut text =
            fs::read_to_string(root.join(page)).with_context(|| page.display().to_string())?;
        let here = place(page).with_context(|| format!("{} is no page", page.display()))?;
        for link in links(&text.clone()) {
            if link.is_foreign() || link.parts().0.is_empty() {
                continue;
            }
            text = match moved(page, &here, &link, &pages) {
                Some(target) => {
                    let (from, to) = (format!("]({})", link.target), format!("]({target})"));
                    text.replace(&from, &to)
                }
                None => without(&text, &link.target),
            };
        }
        write(&out.join(here), text.as_bytes())?;
    }
    for folder in FILES {
        let from = root.join(DOCS).join(folder);
        for file in fs::read_dir(&from).with_context(|| from.display().to_string())? {
            let file = file?;
            let bytes = fs::read(file.path())?;
            write(&out.join(folder).join(file.file_name()), &bytes)?;
        }
    }
    Ok(())
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().context("a page is in a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(file, bytes).with_context(|| file.display().to_string())
}

/// What a link of `page` reads in the book, where `page` is at `here`; `None` where it leads to
/// what the book does not have.
fn moved(page: &Path, here: &Path, link: &Link, pages: &[PathBuf]) -> Option<String> {
    let (file, heading) = link.parts();
    let target = resolve(page.parent()?, file);
    let is_file = FILES
        .iter()
        .any(|folder| target.starts_with(Path::new(DOCS).join(folder)));
    if !is_file && !pages.contains(&target) {
        return None;
    }
    let target = place(&target)?;
    let up = here.parent()?.components().count();
    let mut relative: PathBuf = std::iter::repeat_n("..", up).collect();
    relative.push(target);
    let heading = heading.map_or_else(String::new, |heading| format!("#{heading}"));
    Some(format!("{}{heading}", relative.display()))
}

/// The text with the words alone of each link that leads to `target`.
fn without(text: &str, target: &str) -> String {
    let end = format!("]({target})");
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(&end) {
        // The bracket that opens the words; brackets within them come in pairs.
        let mut depth = 1;
        let open = before.char_indices().rev().find(|(_, letter)| {
            match letter {
                ']' => depth += 1,
                '[' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        match open {
            Some((at, bracket)) => {
                out.push_str(&before[..at]);
                out.push_str(&before[at + bracket.len_utf8()..]);
            }
            None => out.push_str(before),
        }
        rest = behind;
    }
    out + rest
}

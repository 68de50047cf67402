//! The rooms of each crate form no circle: what a folder needs, it needs from folders below it.
//!
//! A room is a folder of `src`, or a file that lies beside the folders. `lib.rs` and `main.rs` name
//! every room, and so does the pipeline of a crate, the one file that strings the phases together;
//! these three are no rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The crates, each with the file that strings its phases together, where there is one.
const CRATES: [(&str, &str); 9] = [
    ("xsplice-diff", "diff"),
    ("xsplice-link", "link"),
    ("xsplice-build", "run"),
    ("xsplice-console", ""),
    ("xsplice-account", ""),
    ("runtime/abi", ""),
    ("runtime", ""),
    ("runtime/testkernel", "start"),
    ("runtime/ctl", "run"),
];

/// Which rooms each room names, with a file that does.
type Arrows = BTreeMap<String, BTreeMap<String, PathBuf>>;

#[test]
fn no_room_needs_a_room_that_needs_it() -> Result<()> {
    for (name, pipeline) in CRATES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let arrows = arrows(&root.join("src"), pipeline)?;
        ensure!(!arrows.is_empty(), "{name}: no room names another");
        let circle = circle(&arrows);
        ensure!(
            circle.is_none(),
            "{name}: {}",
            told(&arrows, circle.as_deref())
        );
    }
    Ok(())
}

#[test]
fn a_circle_is_found() {
    let arrow = |to: &str| BTreeMap::from([(to.to_owned(), PathBuf::new())]);
    let mut arrows: Arrows = ["ab", "bc", "cd"]
        .map(|pair| (pair[..1].to_owned(), arrow(&pair[1..])))
        .into();
    assert_eq!(circle(&arrows), None);
    arrows.insert("d".to_owned(), arrow("b"));
    assert_eq!(circle(&arrows).map(|circle| circle.len()), Some(3));
}

#[test]
fn every_way_of_naming_a_room_is_read() {
    let text = "use crate::{read::side, verdict};\n// crate::no\nuse crate::rules;\n\
                fn f(_: crate::html::X) {}";
    let named: Vec<String> = named(text).into_iter().collect();
    assert_eq!(named, ["html", "read", "rules", "verdict"]);
}

/// Reads which rooms name which.
fn arrows(src: &Path, pipeline: &str) -> Result<Arrows> {
    let mut rooms = BTreeMap::new();
    for entry in std::fs::read_dir(src).with_context(|| src.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !["lib", "main", "bin", pipeline].contains(&name.as_str()) {
            rooms.insert(name, path);
        }
    }
    let mut arrows = Arrows::new();
    for (room, path) in &rooms {
        for file in sources(path)? {
            for other in named(&std::fs::read_to_string(&file)?) {
                if other != *room && rooms.contains_key(&other) {
                    let to = arrows.entry(room.clone()).or_default();
                    to.entry(other).or_insert_with(|| file.clone());
                }
            }
        }
    }
    Ok(arrows)
}

/// The Rust files in a room.
fn sources(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        return Ok(is_source.then(|| path.to_owned()).into_iter().collect());
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path)? {
        all.extend(sources(&entry?.path())?);
    }
    Ok(all)
}

/// The first word of every path that begins with `crate::`, comments aside.
fn named(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let mut names = BTreeSet::new();
    for rest in code.join("\n").split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => names.extend(list_of(list)),
            None => names.extend(word(rest)),
        }
    }
    names
}

/// The first word of each path of a list in braces.
fn list_of(list: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut start = true;
    let mut names = Vec::new();
    for (index, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            _ if start && !letter.is_whitespace() => {
                names.extend(word(&list[index..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> Option<String> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let word: String = text.chars().take_while(|letter| is_part(*letter)).collect();
    (!word.is_empty()).then_some(word)
}

/// The shortest way from a room back to itself.
fn circle(arrows: &Arrows) -> Option<Vec<String>> {
    let ways = arrows.keys().filter_map(|room| way_back(arrows, room));
    ways.min_by_key(Vec::len)
}

fn way_back(arrows: &Arrows, room: &str) -> Option<Vec<String>> {
    let mut ways = std::collections::VecDeque::from([vec![room.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in arrows.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            if next == room {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                let mut longer = way.clone();
                longer.push(next.clone());
                ways.push_back(longer);
            }
        }
    }
    None
}

/// A circle in words, with a file for each step.
fn told(arrows: &Arrows, circle: Option<&[String]>) -> String {
    let circle = circle.unwrap_or_default();
    let steps = circle.iter().zip(circle.iter().cycle().skip(1));
    let told = steps.map(|(from, to)| {
        let file = arrows.get(from).and_then(|to_rooms| to_rooms.get(to));
        format!(
            "{from} needs {to} ({})",
            file.map_or(Path::new(""), PathBuf::as_path).display()
        )
    });
    told.collect::<Vec<_>>().join(", ")
}

//! The list of cases is complete: `docs/cases.md` names every case, and each name in it is a case
//! or a test; each case claims names and reasons, and has its twin; `docs/rules.md` and the cases
//! name each other; and each chapter of the pages about reasons and refusals has an example that a
//! case or a test really produces. What cases claim of payloads is the matter of `claims.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use xsplice_tests::case::{self, Case};
use xsplice_tests::golden::{self, Page};
use xsplice_tests::second_machine::{self, Counterpart};
use xsplice_tests::workspace;

/// Exit statuses of the tools.
const REFUSED: i32 = 2;
const NO_CHANGE: i32 = 3;

fn read(path: &str) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cases() -> BTreeMap<String, Case> {
    let cases = case::all().expect("the cases can be read");
    cases
        .into_iter()
        .map(|case| (case.name.clone(), case))
        .collect()
}

#[test]
fn each_case_in_c_has_a_counterpart_on_aarch64_or_a_reason_why_not() {
    let mut made = 0;
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in cases().values() {
        let folder = case.folder.join(second_machine::FOLDER);
        match second_machine::of(case).expect("a case can be read") {
            Counterpart::Case(counterpart) => {
                assert!(
                    counterpart.built.join(golden::PAGE).exists(),
                    "{}",
                    case.name
                );
                made += 1;
            }
            Counterpart::None(reason) => {
                assert!(!folder.exists(), "{}: {reason}", folder.display());
                reasons.entry(reason).or_default().push(case.name.clone());
            }
        }
    }
    // Those in assembler, and few others.
    assert!(made >= 200, "{made} counterparts");
    for (reason, cases) in reasons {
        assert!(reason.split(' ').count() > 4, "{cases:?}: {reason}");
    }
}

/// First and last cells of all rows of the tables in `docs/cases.md`.
fn rows() -> Vec<(String, String)> {
    let rows: Vec<(String, String)> = read("docs/cases.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            assert_eq!(cells.len(), 3, "{line}");
            (cells[0].to_owned(), cells[2].to_owned())
        })
        .filter(|(_, cases)| cases != "cases")
        .collect();
    assert!(!rows.is_empty(), "docs/cases.md holds no table");
    rows
}

/// What stands between back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a quoted word is the name of a case, and not a flag, a file or a command.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The body of a test, as `FILE::TEST`.
fn test_body(name: &str) -> String {
    let (file, test) = name.split_once("::").expect("FILE::TEST");
    let folders = [
        "tests/tests",
        "xsplice-diff/tests/objects",
        "xsplice-link/tests",
        "xsplice-build/tests",
    ];
    let paths: Vec<PathBuf> = folders
        .iter()
        .map(|folder| workspace().join(folder).join(file))
        .filter(|path| path.exists())
        .collect();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a test can be read");
        let Some((_, rest)) = text.split_once(&format!("fn {test}(")) else {
            continue;
        };
        return rest.split("\n}\n").next().unwrap_or_default().to_owned();
    }
    panic!("{name}: there is no such test")
}

#[test]
fn every_name_in_the_list_is_a_case_or_a_test() {
    let cases = cases();
    let behaviours = workspace().join("fixtures/behaviour");
    for (row, cell) in rows() {
        for word in quoted(&cell) {
            if word.contains("::") {
                test_body(word);
            } else if is_name(word) {
                let is_program = behaviours.join(word).join("behaviour.json").exists();
                assert!(
                    is_program || cases.contains_key(word),
                    "{row}: {word}: no such case or program"
                );
            }
        }
    }
}

#[test]
fn every_case_is_in_the_list() {
    let text: Vec<(String, String)> = rows();
    let named: BTreeSet<&str> = text.iter().flat_map(|(_, cell)| quoted(cell)).collect();
    for name in cases().keys() {
        assert!(
            named.contains(name.as_str()),
            "{name}: not in docs/cases.md"
        );
    }
}

/// One chapter of `docs/rules.md`.
struct Rule {
    /// `R` and a number.
    key: String,
    /// The file that decides.
    place: String,
    cases: BTreeSet<String>,
    /// Tests as `FILE::TEST`, for what no case holds.
    tests: Vec<String>,
}

fn rules() -> Vec<Rule> {
    let text = read("docs/rules.md");
    text.split("\n## ")
        .skip(1)
        .map(|chapter| {
            let (key, _) = chapter.split_once(". ").expect("a rule has a number");
            let paragraph = |start: &str| {
                chapter
                    .split("\n\n")
                    .find_map(|one| one.trim_end().strip_prefix(start))
                    .map(|one| quoted(one).map(str::to_owned).collect::<Vec<_>>())
                    .unwrap_or_default()
            };
            Rule {
                key: key.to_owned(),
                place: paragraph("Where: ").pop().unwrap_or_default(),
                cases: paragraph("Cases: ").into_iter().collect(),
                tests: paragraph("Tests: "),
            }
        })
        .collect()
}

#[test]
fn rules_are_numbered_in_order_and_each_has_its_place_and_is_held() {
    for (index, rule) in rules().iter().enumerate() {
        assert_eq!(rule.key, format!("R{}", index + 1));
        let place = workspace().join(&rule.place);
        assert!(place.is_file(), "{}: {}: no file", rule.key, rule.place);
        assert!(
            !rule.cases.is_empty() || !rule.tests.is_empty(),
            "{}: nothing holds it",
            rule.key
        );
        for test in &rule.tests {
            test_body(test);
        }
    }
}

#[test]
fn rules_and_cases_name_each_other() {
    let mut cited: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, case) in cases() {
        assert!(!case.description.rules.is_empty(), "{name}: holds no rule");
        for rule in case.description.rules {
            cited.entry(rule).or_default().insert(name.clone());
        }
    }
    let rules = rules();
    for rule in &rules {
        let by_cases = cited.remove(&rule.key).unwrap_or_default();
        assert_eq!(rule.cases, by_cases, "{}: other cases cite it", rule.key);
    }
    assert!(cited.is_empty(), "no such rules: {cited:?}");
}

#[test]
fn the_list_of_cases_cites_rules_that_exist() {
    let known: BTreeSet<String> = rules().into_iter().map(|rule| rule.key).collect();
    let cited: BTreeSet<String> = rows()
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| key.starts_with('R'))
        .collect();
    assert_eq!(known, cited);
}

#[test]
fn every_case_claims_names_and_reasons() {
    for (name, case) in cases() {
        let expect = case.description.expect;
        if expect.status == REFUSED {
            assert!(!expect.refusals.is_empty(), "{name}: claims no refusal");
        } else {
            assert!(expect.changed.is_some(), "{name}: claims no functions");
            assert!(expect.new.is_some(), "{name}: claims no new functions");
        }
        let functions = expect.changed.iter().chain(&expect.new).flatten();
        for function in functions {
            assert!(
                expect
                    .reasons
                    .get(function)
                    .is_some_and(|kinds| !kinds.is_empty()),
                "{name}: claims no reason for {function}"
            );
        }
    }
}

#[test]
fn every_case_has_a_twin_for_which_something_else_comes_out_or_is_one() {
    let cases = cases();
    let twins: BTreeSet<&str> = cases
        .values()
        .filter_map(|case| case.description.twin.as_deref())
        .collect();
    for (name, case) in &cases {
        let expect = &case.description.expect;
        let has_opposite = [REFUSED, NO_CHANGE].contains(&expect.status);
        let Some(twin) = &case.description.twin else {
            assert!(
                !has_opposite && twins.contains(name.as_str()),
                "{name}: has no twin"
            );
            continue;
        };
        let other = &cases
            .get(twin)
            .unwrap_or_else(|| panic!("{name}: its twin {twin} is no case"))
            .description
            .expect;
        if has_opposite {
            assert_ne!(
                other.status, expect.status,
                "{name}: the same comes out for its twin"
            );
        } else {
            assert_ne!(
                other, expect,
                "{name}: the same is claimed for its twin {twin}"
            );
        }
    }
}

/// A chapter of the pages about reasons and refusals.
struct Chapter {
    code: String,
    /// The last block of the example: what the tool says.
    says: String,
    /// The case or test that shows it.
    shown_by: String,
}

fn chapters(page: &str) -> Vec<Chapter> {
    let text = read(page);
    text.split("\n## ")
        .skip(1)
        .map(|chapter| {
            let (code, rest) = chapter.split_once('\n').expect("a heading ends");
            let (_, example) = rest
                .split_once("Example")
                .unwrap_or_else(|| panic!("{code}: no example"));
            let (before, after) = example
                .split_once("Shown by ")
                .unwrap_or_else(|| panic!("{code}: does not say what shows the example"));
            let says = before
                .trim_end()
                .rsplit("\n\n")
                .next()
                .unwrap_or_default()
                .to_owned();
            assert!(says.starts_with("    "), "{code}: the example says nothing");
            Chapter {
                code: code.to_owned(),
                says: squeezed(&says),
                shown_by: quoted(after).next().unwrap_or_default().to_owned(),
            }
        })
        .collect()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What came out for a case, and its report.
fn came_out(case: &str) -> (Page, Value) {
    let page = read(&format!("fixtures/cases/{case}/{}", golden::PAGE));
    let page = Page::parse(&page).unwrap_or_else(|error| panic!("{case}: {error}"));
    let report = serde_json::from_str(&page.report).expect("a report is JSON");
    (page, report)
}

fn holds(list: &Value, key: &str, wanted: &str) -> bool {
    list.as_array()
        .is_some_and(|entries| entries.iter().any(|entry| entry[key] == wanted))
}

#[test]
fn the_example_of_every_refusal_is_what_a_case_or_a_test_shows() {
    for chapter in chapters("docs/refusals.md") {
        let code = &chapter.code;
        if chapter.shown_by.contains("::") {
            let variant: String = code
                .split('-')
                .map(|word| word[..1].to_uppercase() + &word[1..])
                .collect();
            // A test of a library names the code's variant, one of a command the code itself.
            let body = test_body(&chapter.shown_by);
            assert!(
                body.contains(&format!("RefusalCode::{variant}"))
                    || body.contains(&format!("\"{code}\"")),
                "{code}: {} does not claim it",
                chapter.shown_by
            );
            continue;
        }
        let (page, report) = came_out(&chapter.shown_by);
        assert!(
            holds(&report["refusals"], "code", code),
            "{code}: {} is not refused so",
            chapter.shown_by
        );
        let said = squeezed(&page.stderr);
        assert!(
            said.contains(&chapter.says),
            "{code}: {} says\n{said}\nand not\n{}",
            chapter.shown_by,
            chapter.says
        );
    }
}

#[test]
fn the_example_of_every_reason_is_what_a_case_shows() {
    for chapter in chapters("docs/reasons.md") {
        let code = &chapter.code;
        let (page, report) = came_out(&chapter.shown_by);
        let functions = report["functions"].as_array().expect("a list of functions");
        assert!(
            functions
                .iter()
                .any(|function| holds(&function["reasons"], "kind", code)),
            "{code}: no function of {} is there for it",
            chapter.shown_by
        );
        let said = squeezed(&page.stdout);
        assert!(
            said.contains(&chapter.says),
            "{code}: {} says\n{said}\nand not\n{}",
            chapter.shown_by,
            chapter.says
        );
    }
}

/// A row of the list of shortcuts in `docs/rules.md`.
struct Shortcut {
    /// `S` and a number.
    key: String,
    /// The file that takes it.
    place: String,
    /// The cases, behaviours and tests that hold what it is not.
    held_by: Vec<String>,
}

fn shortcuts() -> Vec<Shortcut> {
    let text = read("docs/rules.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| S"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 4, "{row}");
        let (_, place) = cells[2].split_once("](../").expect("a link to the file");
        Shortcut {
            key: format!("S{}", cells[0]),
            place: place.trim_end_matches(')').to_owned(),
            held_by: quoted(cells[3]).map(str::to_owned).collect(),
        }
    })
    .collect()
}

/// Every source file of the crates that decide.
fn deciding_sources() -> Vec<(String, String)> {
    let crates = [
        "xsplice-diff",
        "xsplice-link",
        "xsplice-account",
        "xsplice-build",
    ];
    let of_crate = |name: &&str| {
        let names = case::files(&workspace().join(name)).expect("a crate has files");
        let own = names.into_iter().filter(|name| name.ends_with(".rs"));
        own.map(|file| format!("{name}/{file}")).collect::<Vec<_>>()
    };
    let paths = crates.iter().flat_map(of_crate);
    paths
        .map(|path| (read(&path), path))
        .map(|(text, path)| (path, text))
        .collect()
}

#[test]
fn every_shortcut_of_the_source_is_listed_and_its_nearest_opposite_is_held() {
    let cases = cases();
    let sources = deciding_sources();
    let mut marked: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in &sources {
        for (_, rest) in text
            .match_indices("Shortcut S")
            .map(|(at, _)| text.split_at(at + 9))
        {
            let key: String = rest
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            let before = marked.insert(key.clone(), path.clone());
            assert!(
                before.is_none(),
                "{key}: marked twice, in {path} and {before:?}"
            );
        }
    }
    let is_test = |word: &str| {
        let (file, test) = word.split_once("::").expect("FILE::TEST");
        let ending = format!("/{file}");
        let mut files = sources.iter().filter(|(path, _)| path.ends_with(&ending));
        files.any(|(_, text)| text.contains(&format!("fn {test}(")))
    };
    for (index, shortcut) in shortcuts().iter().enumerate() {
        let key = &shortcut.key;
        assert_eq!(*key, format!("S{}", index + 1));
        assert_eq!(marked.remove(key).as_ref(), Some(&shortcut.place), "{key}");
        assert!(
            !shortcut.held_by.is_empty(),
            "{key}: nothing holds what it is not"
        );
        for word in &shortcut.held_by {
            let behaviour = workspace().join("fixtures/behaviour").join(word);
            let is_there = if word.contains("::") {
                is_test(word)
            } else {
                cases.contains_key(word) || behaviour.is_dir()
            };
            assert!(is_there, "{key}: {word}: no such case, behaviour or test");
        }
    }
    assert!(marked.is_empty(), "not in docs/rules.md: {marked:?}");
}

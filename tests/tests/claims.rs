//! What the cases claim of their payloads is worth something: each payload has a claim, no claim
//! holds whatever is in a payload, and none of them all survives when the payload's references lead
//! to the base instead of the payload, or the other way round. That decision shows in no test run:
//! both ways behave alike until a revert or a second payload.

use std::collections::BTreeSet;
use std::fs;

use xsplice_tests::case::{self, Case, contains};
use xsplice_tests::golden::{self, Page};
use xsplice_tests::tools;

/// Cases with a payload: what is claimed of it, and its listing.
fn payloads() -> Vec<(Case, String)> {
    let all = case::all().expect("the cases can be read");
    let payloads: Vec<_> = all
        .into_iter()
        .filter_map(|case| {
            let page = fs::read_to_string(case.folder.join(golden::PAGE)).ok()?;
            let page = Page::parse(&page).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            Some((case, page.payload?))
        })
        .collect();
    assert!(payloads.len() > 100, "{} payloads", payloads.len());
    payloads
}

#[test]
fn every_payload_has_a_claim() {
    for (case, _) in payloads() {
        let expect = &case.description.expect;
        assert!(!expect.payload.is_empty(), "{}: claims nothing", case.name);
    }
    // Where only another ABI takes the change, the claim is about its payload.
    for case in case::all().expect("the cases can be read") {
        let expect = &case.description.expect;
        let is_made = expect.abis.values().any(Vec::is_empty);
        assert!(
            !is_made || !expect.payload.is_empty(),
            "{}: claims nothing",
            case.name
        );
    }
}

/// Whether words of a text that must not be there stand in what the case is made of: a misspelt
/// one could never be found.
fn is_of_the_case(case: &Case, unwanted: &str) -> bool {
    let word = unwanted
        .rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
        .find(|word| !word.is_empty())
        .unwrap_or_default();
    let files = case::files(&case.folder).expect("a case has files");
    let is_in_a_file = files
        .iter()
        .filter(|file| *file != "case.json")
        .filter_map(|file| fs::read(case.folder.join(file)).ok())
        .any(|bytes| String::from_utf8_lossy(&bytes).contains(word));
    // Kinds of relocations and symbols have no name in a file.
    is_in_a_file
        || files
            .iter()
            .filter(|file| file.ends_with(".o"))
            .filter_map(|file| tools::readelf(&case.folder.join(file)).ok())
            .any(|text| text.contains(word))
}

#[test]
fn each_claim_fails_turned_round_and_for_some_other_payload() {
    let payloads = payloads();
    let mut wrong = Vec::new();
    for (case, listing) in &payloads {
        let name = &case.name;
        for claim in &case.description.expect.payload {
            let turned = match claim.strip_prefix('!') {
                Some(unwanted) => unwanted.to_owned(),
                None => format!("!{claim}"),
            };
            let holds = |listing: &str, claim: &String| {
                contains(listing, std::slice::from_ref(claim)).is_ok()
            };
            assert!(holds(listing, claim), "{name}: {claim:?} does not hold");
            assert!(!holds(listing, &turned), "{name}: {turned:?} holds too");
            let differs = payloads.iter().any(|(other, listing)| {
                let listing = listing.replace(&format!("{}:", other.name), &format!("{name}:"));
                !holds(&listing, claim)
            });
            let can_fail = differs
                || claim
                    .strip_prefix('!')
                    .is_some_and(|unwanted| is_of_the_case(case, unwanted));
            if !can_fail {
                wrong.push(format!("{name}: {claim:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "hold for every payload: {wrong:#?}");
}

/// The listing with every reference turned: what leads to the payload's own symbol leads to the
/// base's, and what leads to a replaced function of the base leads to the replacement. `None` where
/// there is no such reference.
fn turned(name: &str, listing: &str) -> Option<String> {
    let own = format!("{name}:");
    let relocation = |line: &str| -> Option<(String, String, String)> {
        let at = line.find("  R_X86_64_")?;
        let kind_end = at + 2 + line[at + 2..].find(' ')?;
        let addend = line.rfind(['+', '-'])?;
        let (head, target) = (line[..=kind_end].to_owned(), &line[kind_end + 1..addend]);
        Some((head, target.to_owned(), line[addend..].to_owned()))
    };
    let records = listing.split("\n.xsplice.funcs\n").nth(1).unwrap_or("");
    let replaced: BTreeSet<String> = records
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .lines()
        .filter_map(relocation)
        .filter_map(|(_, target, _)| target.strip_prefix(&own).map(str::to_owned))
        .collect();
    let mut is_turned = false;
    let mut section = "";
    let mut lines = Vec::new();
    for line in listing.lines() {
        if !line.starts_with(' ') && !line.is_empty() {
            section = line;
        }
        let other = relocation(line).and_then(|(head, target, addend)| {
            let target = match target.strip_prefix(&own) {
                Some(base) => base.to_owned(),
                None if replaced.contains(&target) => format!("{own}{target}"),
                None => return None,
            };
            Some(format!("{head}{target}{addend}"))
        });
        // A record has to name the replacement.
        match other.filter(|_| section != ".xsplice.funcs") {
            Some(other) => {
                is_turned = true;
                lines.push(other);
            }
            None => lines.push(line.to_owned()),
        }
    }
    is_turned.then(|| lines.join("\n") + "\n")
}

#[test]
fn no_payload_with_its_references_turned_is_what_the_case_claims() {
    let mut count = 0;
    for (case, listing) in payloads() {
        let Some(turned) = turned(&case.name, &listing) else {
            continue;
        };
        count += 1;
        assert!(
            contains(&turned, &case.description.expect.payload).is_err(),
            "{}: the claims hold with every reference turned:\n{turned}",
            case.name
        );
    }
    assert!(count > 50, "{count} payloads with such references");
}

#[test]
fn a_reference_is_turned_and_a_record_is_not() {
    let listing = "\n.text\n     2  R_X86_64_PLT32 n:f-0x4\n     8  R_X86_64_PC32 g-0x4\n\
                   \x20   e  R_X86_64_PC32 h-0x4\n\n.xsplice.funcs\n     8  R_X86_64_64 n:f+0x0\n\
                   \x20   8  R_X86_64_64 n:g+0x0\n";
    let expected = listing
        .replace("PLT32 n:f", "PLT32 f")
        .replace("PC32 g", "PC32 n:g");
    assert_eq!(turned("n", listing), Some(expected));
    assert_eq!(turned("n", "\n.text\n     2  R_X86_64_PLT32 h-0x4\n"), None);
}

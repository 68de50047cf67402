//! Which refusals come first, and which of them have one cause.
//!
//! Where the two builds are not comparable, or the tree is not that of the base, the other refusals
//! may be nothing but what follows from it. A reader must meet the cause first.

use crate::verdict::kinds::RefusalCode;
use crate::verdict::refusal::Refusal;

/// What a kind of refusal is about, the causes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The two builds are by other compilers, with other flags or for other machines.
    Builds,
    /// The original tree is not the one that the base was linked from.
    Base,
    /// A change that no payload can carry.
    Change,
}

/// What a refusal is about.
#[must_use]
pub fn rank(code: RefusalCode) -> Rank {
    match code {
        RefusalCode::ToolchainDiffers | RefusalCode::ObjectsDiffer | RefusalCode::AbiMismatch => {
            Rank::Builds
        }
        RefusalCode::ProofFailed | RefusalCode::RecordMismatch => Rank::Base,
        _ => Rank::Change,
    }
}

/// Sorts the causes to the front; otherwise the order stays.
pub fn causes_first(refusals: &mut [Refusal]) {
    refusals.sort_by_key(|refusal| {
        let is_toolchain = refusal.code == RefusalCode::ToolchainDiffers;
        // One sentence about a whole tree comes before those about its parts.
        (rank(refusal.code), !is_toolchain, !refusal.place.is_whole())
    });
}

/// Stands in a sentence for the name that differs from place to place.
const NAME: &str = "NAME";
/// Stands in a sentence for the object, where each is another.
const OBJECT: &str = "OBJECT";

/// The refusals, those of one kind and one sentence together, in the order of the first of each.
#[must_use]
pub fn by_cause(refusals: &[Refusal]) -> Vec<(String, Vec<&Refusal>)> {
    let mut groups: Vec<(RefusalCode, String, Vec<&Refusal>)> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for refusal in refusals {
        let key = (refusal.code, sentence(refusal));
        let at = *known.entry(key).or_insert_with_key(|(code, sentence)| {
            groups.push((*code, sentence.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[at].2.push(refusal);
    }
    let groups = groups.into_iter();
    groups
        .map(|(_, sentence, refusals)| (sentence, refusals))
        .collect()
}

/// What is wrong, said of several places: the own name of each is left out.
fn sentence(refusal: &Refusal) -> String {
    if let Some(shared) = &refusal.shared {
        return shared.clone();
    }
    let place = &refusal.place;
    let mut text = refusal.problem.clone();
    for name in [&place.symbol, &place.section].into_iter().flatten() {
        text = without(&text, name, NAME);
    }
    match place.is_whole() {
        true => without(&text, &refusal.object, OBJECT),
        false => text,
    }
}

/// The text with something else in place of a word.
fn without(text: &str, word: &str, stand_in: &str) -> String {
    let is_inner =
        |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '$' | '/');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(at) = rest.find(word).filter(|_| !word.is_empty()) {
        let (head, tail) = rest.split_at(at);
        let behind = &tail[word.len()..];
        let last = head.chars().next_back().or(before);
        let is_word = !last.is_some_and(is_inner) && !behind.chars().next().is_some_and(is_inner);
        out.push_str(head);
        out.push_str(if is_word { stand_in } else { word });
        before = word.chars().next_back();
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{by_cause, causes_first, without};
    use crate::verdict::kinds::RefusalCode;
    use crate::verdict::refusal::Refusal;

    fn init(symbol: &str) -> Refusal {
        let problem = format!("ran at boot; accept it with --accept init:{symbol} or a macro");
        Refusal::new(RefusalCode::ChangedInit, "f.o", problem)
            .at(".init.text", 4)
            .of(symbol)
    }

    #[test]
    fn causes_come_first_and_the_rest_keeps_its_order() {
        let of = |code| Refusal::new(code, "f.o", "x");
        let codes = [
            RefusalCode::ChangedInit,
            RefusalCode::ProofFailed,
            RefusalCode::ChangedData,
            RefusalCode::ObjectsDiffer,
            RefusalCode::ToolchainDiffers,
        ];
        let mut refusals: Vec<Refusal> = codes.into_iter().map(of).collect();
        causes_first(&mut refusals);
        let sorted: Vec<RefusalCode> = refusals.iter().map(|one| one.code).collect();
        let wanted = [
            RefusalCode::ToolchainDiffers,
            RefusalCode::ObjectsDiffer,
            RefusalCode::ProofFailed,
            RefusalCode::ChangedInit,
            RefusalCode::ChangedData,
        ];
        assert_eq!(sorted, wanted);
    }

    #[test]
    fn what_says_one_thing_of_several_places_is_one_group() {
        let other = Refusal::new(RefusalCode::ChangedInit, "f.o", "init: data changed").of("four");
        let refusals = [init("one"), init("two"), other, init("three")];
        let groups = by_cause(&refusals);
        let sizes: Vec<usize> = groups.iter().map(|(_, group)| group.len()).collect();
        assert_eq!(sizes, [3, 1]);
        assert_eq!(
            groups[0].0,
            "ran at boot; accept it with --accept init:NAME or a macro"
        );
        let of_object = |object: &str| {
            let problem = format!("leave it out with --ignore-object '{object}'");
            Refusal::new(RefusalCode::NotLinked, object, problem)
        };
        let objects = [of_object("a/f.o"), of_object("b/f.o")];
        assert_eq!(
            by_cause(&objects)[0].0,
            "leave it out with --ignore-object 'OBJECT'"
        );
        // One sentence of two kinds of refusals are two things.
        let mut kinds = [init("one"), init("two")];
        kinds[1].code = RefusalCode::ChangedData;
        assert_eq!(by_cause(&kinds).len(), 2);
    }

    #[test]
    fn names_are_replaced_as_whole_words() {
        for (text, word, wanted) in [
            ("accept a: data:a", "a", "accept N: data:N"),
            ("init:setup_x and setup", "setup", "init:setup_x and N"),
            ("x.setup setup.cold", "setup", "x.setup setup.cold"),
            ("'lib/f.o' and f.o", "f.o", "'lib/f.o' and N"),
            ("aaa aa", "aa", "aaa N"),
            ("text", "", "text"),
        ] {
            assert_eq!(without(text, word, "N"), wanted);
        }
    }
}

//! Items of the original tree that the base does not have: the linker dropped them.
//!
//! A function that nothing called is in the objects and not in the image. New code that calls it
//! must bring it along, and must not take a function of another file for it that happens to have
//! the same name under the same file name. So what included code needs of the base is looked up
//! once more: what is not there is new, and the object is compared again without it. That goes for
//! what another object defines, too: a function that only the fix calls, in a member of an archive
//! that nothing needed before.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use object::elf;
use rayon::prelude::*;
use xsplice_diff::extract::{Extract, Place, Record};
use xsplice_diff::options::Dropped;
use xsplice_diff::verdict::kinds::RefusalCode;
use xsplice_diff::verdict::refusal::Refusal;
use xsplice_diff::{
    Options, OriginalItem, Originals, defined_names, gather_without, local_variables, originals,
    shared_names, source_files,
};
use xsplice_link::Base;
use xsplice_link::base::{Lookup, QualifiedName, Scope};
use xsplice_link::proof::prove_object;

use crate::compare::Comparison;
use crate::compare::merged::Merged;
use crate::inputs::{Bytes, Input};

/// What is brought along may need more that the base does not have.
const ROUNDS_MAX: usize = 8;

/// Compares objects again without what the base does not have, until nothing more is missing.
pub(crate) fn settle<'data>(
    base: &Base<'_>,
    inputs: &'data [Input],
    merged: &Merged,
    options: &Options,
    comparison: &mut Comparison<'data>,
) {
    if comparison.diffs.iter().all(|diff| diff.extract.is_none()) {
        return;
    }
    let search = Search::new(base, inputs, merged);
    let mut known: BTreeMap<String, Dropped> = BTreeMap::new();
    for _ in 0..ROUNDS_MAX {
        let mut changed: BTreeSet<String> = BTreeSet::new();
        let mut note = |object: &str, names: BTreeSet<DroppedName>| {
            let dropped = known.entry(object.to_owned()).or_default();
            let before = dropped.0.len();
            dropped.0.extend(names);
            if dropped.0.len() != before {
                changed.insert(object.to_owned());
            }
        };
        for diff in &mut comparison.diffs {
            let Some(extract) = &diff.extract else {
                continue;
            };
            let missing = search.missing(extract);
            diff.refusals.extend(missing.refusals);
            for (object, names) in search.provided(&missing.elsewhere, &diff.object) {
                note(object, names);
            }
            note(&diff.object, missing.dropped);
        }
        if changed.is_empty() {
            break;
        }
        for object in changed {
            let input = inputs.iter().find(|input| input.name == object);
            let Some(Bytes::Both { original, patched }) = input.map(|input| &input.bytes) else {
                continue;
            };
            let dropped = &known[&object];
            let again = gather_without(&object, original, patched, options, dropped);
            let place = comparison
                .diffs
                .binary_search_by(|diff| diff.object.cmp(&object));
            match (again, place) {
                (Ok(again), Ok(at)) => comparison.diffs[at] = again,
                (Ok(again), Err(at)) => comparison.diffs.insert(at, again),
                (Err(_), _) => {}
            }
        }
    }
}

/// The name of something that the base was linked without; for a local, with its file.
type DroppedName = (String, Option<String>);

/// What of the base is looked at.
struct Search<'run, 'data> {
    base: &'run Base<'data>,
    inputs: Vec<&'run Input>,
    /// Every name that the base has a symbol of, local or not.
    names: BTreeSet<&'run str>,
    /// File names of which the base kept locals.
    files: BTreeSet<&'run str>,
    /// Which inputs come from a file of a name: read when it is first asked for.
    sources: OnceCell<Sources<'run>>,
    /// Which inputs define a global name: read when it is first asked for.
    definitions: OnceCell<HashMap<&'run str, Vec<usize>>>,
}

/// The FILE symbols of the original tree.
struct Sources<'run> {
    /// The inputs that have one of this name, by their places among the inputs.
    of_name: HashMap<&'run str, Vec<usize>>,
    /// Those that have none. Assembler files often have no FILE symbol, and are known by the
    /// object's own name.
    without: Vec<usize>,
}

impl<'run> Sources<'run> {
    fn new(inputs: &[&'run Input]) -> Sources<'run> {
        let files: Vec<Vec<&str>> = inputs
            .par_iter()
            .map(|input| {
                let bytes = input.original();
                let files = bytes.and_then(|bytes| source_files(&input.name, bytes).ok());
                files.unwrap_or_default()
            })
            .collect();
        let mut sources = Sources {
            of_name: HashMap::new(),
            without: Vec::new(),
        };
        for (index, files) in files.into_iter().enumerate() {
            if files.is_empty() {
                sources.without.push(index);
            }
            for file in files {
                let own = sources.of_name.entry(file).or_default();
                if own.last() != Some(&index) {
                    own.push(index);
                }
            }
        }
        sources
    }
}

#[derive(Default)]
struct Missing {
    dropped: BTreeSet<DroppedName>,
    /// Global names that other objects would have to define.
    elsewhere: BTreeSet<String>,
    refusals: Vec<Refusal>,
}

/// Whose a local symbol of the base is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Another,
    Unknown,
}

impl<'run, 'data> Search<'run, 'data> {
    fn new(base: &'run Base<'data>, inputs: &'run [Input], merged: &Merged) -> Self {
        let symbols = base.symbols().iter();
        let is_input = |input: &&Input| !merged.parts.contains_key(&input.name);
        Search {
            base,
            inputs: inputs.iter().filter(is_input).collect(),
            names: symbols.clone().map(|symbol| symbol.name).collect(),
            files: symbols
                .filter(|symbol| symbol.scope == Scope::Local)
                .filter_map(|symbol| symbol.file)
                .collect(),
            sources: OnceCell::new(),
            definitions: OnceCell::new(),
        }
    }

    /// The objects that define what `object` needs and the base was linked without, each with what
    /// the base does not have of it. Of several that define one name, none: who knows which of them
    /// a linker would take.
    fn provided(
        &self,
        needed: &BTreeSet<String>,
        object: &str,
    ) -> Vec<(&'run str, BTreeSet<DroppedName>)> {
        let mut all = Vec::new();
        for name in needed {
            let definitions = self.definitions.get_or_init(|| definitions(&self.inputs));
            let Some(&[index]) = definitions.get(name.as_str()).map(Vec::as_slice) else {
                continue;
            };
            let input = self.inputs[index];
            if input.name != object {
                let mut dropped = self.unlinked(input);
                dropped.insert((name.clone(), None));
                all.push((input.name.as_str(), dropped));
            }
        }
        all
    }

    /// Everything that an object defines, when the base was linked without the object.
    fn unlinked(&self, input: &Input) -> BTreeSet<DroppedName> {
        let bytes = input.original();
        let names = bytes.and_then(|bytes| defined_names(&input.name, bytes).ok());
        let names: BTreeSet<DroppedName> = names.unwrap_or_default().into_iter().collect();
        let is_linked = names.iter().any(|(name, file)| {
            let name = QualifiedName {
                file: file.as_deref(),
                name,
            };
            !matches!(self.base.lookup(name), Lookup::Absent)
        });
        if is_linked { BTreeSet::new() } else { names }
    }

    /// What included code of an object refers to, or replaces, that the base does not have.
    fn missing(&self, extract: &Extract<'_>) -> Missing {
        let mut missing = Missing::default();
        let is_absent = |record: &Record<'_>| {
            let file = record.file.as_deref();
            let name = QualifiedName {
                file: file.filter(|_| record.binding == elf::STB_LOCAL.0),
                name: &record.name,
            };
            matches!(self.base.lookup(name), Lookup::Absent)
        };
        // Of an object that is not linked at all, nothing is brought along.
        if !extract.records.is_empty() && extract.records.iter().all(is_absent) {
            return missing;
        }
        let elsewhere = extract.symbols.iter().filter(|symbol| {
            // A weak name may be missing, and is 0 then.
            symbol.place == Place::Undefined
                && symbol.binding == elf::STB_GLOBAL.0
                && !self.names.contains(symbol.name.as_str())
        });
        let elsewhere = elsewhere.map(|symbol| symbol.name.clone());
        missing.elsewhere.extend(elsewhere);
        let referred = extract.symbols.iter();
        let referred = referred
            .filter(|symbol| symbol.place == Place::Base)
            .map(|symbol| (&symbol.name, &symbol.file, symbol.binding));
        let replaced = extract.records.iter();
        let replaced = replaced.map(|record| (&record.name, &record.file, record.binding));
        for (name, file, binding) in referred.chain(replaced) {
            let file = file.as_deref().filter(|_| binding == elf::STB_LOCAL.0);
            let qualified = QualifiedName { file, name };
            let is_missing = match (self.base.lookup(qualified), file) {
                (Lookup::Absent, Some(file)) => self.files.contains(file),
                // Where locals have no file, a name says nothing.
                (Lookup::Absent, None) => {
                    binding != elf::STB_LOCAL.0 && !self.names.contains(name.as_str())
                }
                (Lookup::Found(_), Some(file)) => {
                    let whose = self.whose(extract, name, file);
                    if whose == Whose::Unknown {
                        missing.refusals.push(unknown(extract, &qualified));
                    }
                    whose == Whose::Another
                }
                (Lookup::Found(_), None) | (Lookup::Ambiguous(_), _) => false,
            };
            if is_missing {
                let file = file.map(str::to_owned);
                missing.dropped.insert((name.clone(), file));
            }
        }
        missing
    }

    /// Whose the local of the base is that an object knows by this name. Where another object of
    /// the original tree has one of that name under that file name, the proof decides.
    fn whose(&self, extract: &Extract<'_>, name: &str, file: &str) -> Whose {
        let object = extract.object.as_str();
        let sources = self.sources.get_or_init(|| Sources::new(&self.inputs));
        let named = sources.of_name.get(file).into_iter().flatten();
        let without = sources.without.iter();
        let without = without.filter(|index| self.inputs[**index].name.ends_with(file));
        let others: Vec<&Input> = named
            .chain(without)
            .map(|index| self.inputs[*index])
            .filter(|input| input.name != object)
            .collect();
        if others.is_empty() {
            return Whose::Ours;
        }
        let is_held = |input: &Input| {
            let item = local_item(input, name, file)?;
            Some(self.is_held(&input.name, item))
        };
        let own = self.inputs.iter().find(|input| input.name == object);
        let is_ours = own.and_then(|input| is_held(input));
        let theirs: Vec<bool> = others.into_iter().filter_map(is_held).collect();
        match (is_ours, theirs.contains(&true)) {
            _ if theirs.is_empty() => Whose::Ours,
            (Some(true), false) => Whose::Ours,
            (Some(false), _) => Whose::Another,
            (None, _) | (Some(true), true) => Whose::Unknown,
        }
    }

    /// Whether the base holds an item as it was compiled.
    fn is_held(&self, object: &str, item: OriginalItem<'_>) -> bool {
        let alone = Originals {
            functions: vec![item],
            constants: Vec::new(),
        };
        prove_object(self.base, object, &alone).proven == 1
    }
}

/// Which inputs define a global name, by their places among the inputs.
fn definitions<'run>(inputs: &[&'run Input]) -> HashMap<&'run str, Vec<usize>> {
    let defined: Vec<Vec<&str>> = inputs
        .par_iter()
        .map(|input| {
            let names = input
                .patched()
                .and_then(|bytes| shared_names(&input.name, bytes).ok());
            names.unwrap_or_default().defined
        })
        .collect();
    let mut definitions: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, names) in defined.into_iter().enumerate() {
        for name in names {
            let own = definitions.entry(name).or_default();
            if own.last() != Some(&index) {
                own.push(index);
            }
        }
    }
    definitions
}

fn unknown(extract: &Extract<'_>, name: &QualifiedName<'_>) -> Refusal {
    let problem = "several objects have one of this name under this file name, and the base has \
                   one that may be any of theirs; give the sources distinct names";
    Refusal::new(RefusalCode::AmbiguousSymbol, &extract.object, problem).of(name.to_string())
}

/// The function, constant or variable of an original object that is local under these names.
fn local_item<'i>(input: &'i Input, name: &str, file: &str) -> Option<OriginalItem<'i>> {
    let bytes = input.original()?;
    let items = originals(&input.name, bytes).ok()?;
    let variables = local_variables(&input.name, bytes).ok()?;
    let all = items.functions.into_iter().chain(items.constants);
    all.chain(variables).find(|item| {
        item.name == name && item.file.as_deref() == Some(file) && item.binding == elf::STB_LOCAL.0
    })
}

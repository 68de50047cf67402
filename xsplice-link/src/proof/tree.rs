//! The proof of the whole tree: a single function may match by chance, a whole tree does not. In a
//! stale or foreign tree, functions differ or are missing.

use std::collections::BTreeSet;

use object::elf;
use xsplice_diff::OriginalItem;
use xsplice_diff::Originals;

use super::{Deviations, FailureKind, ProofFailure, Prover};
use crate::base::{Base, BaseSymbol, Lookup, QualifiedName, Scope, SymbolKind};

/// The proof of one object.
#[derive(Clone, Debug, Default)]
pub struct ObjectProof {
    /// The object.
    pub object: String,
    /// Functions that the base holds as the object does.
    pub proven: u64,
    /// Constants that the base holds as the object does.
    pub proven_constants: u64,
    /// Functions of which the base has no symbol.
    pub absent: Vec<String>,
    /// Functions that differ.
    pub failed: Vec<ItemFailure>,
    /// Constants that differ.
    pub failed_constants: Vec<ItemFailure>,
    /// How often the linker changed something that was proven all the same.
    pub deviations: Deviations,
    /// Names of other objects that a linker may lead elsewhere, and that references lead to.
    pub plain_names: BTreeSet<String>,
}

/// One item that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemFailure {
    /// The item's name as the base would know it.
    pub name: String,
    /// The sentence for people.
    pub message: String,
    /// The first difference.
    pub failure: ProofFailure,
}

impl ObjectProof {
    /// Whether the base has any function that this object defines; of an object without functions,
    /// any constant.
    #[must_use]
    pub(crate) fn is_named_in_base(&self) -> bool {
        let has_constants = self.proven_constants != 0 || !self.failed_constants.is_empty();
        self.proven != 0 || !self.failed.is_empty() || (self.absent.is_empty() && has_constants)
    }

    /// Whether the base has definitions of another object instead, as for a member of a library
    /// that was overridden: everything that differs is global, and no function is the same. An
    /// object without functions, such as a table that a later build step fills, is judged by its
    /// constants, of which some may be equal by chance.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        let mut failed = self.failed.iter().chain(&self.failed_constants).peekable();
        self.proven == 0 && failed.peek().is_some() && failed.all(|item| !item.name.contains('#'))
    }
}

/// Proves the items of one object. Where the base has several symbols of a name, any of them may
/// match.
#[must_use]
pub fn prove_object(base: &Base<'_>, object: &str, originals: &Originals<'_>) -> ObjectProof {
    let mut prover = Prover::new(base);
    let mut proof = ObjectProof {
        object: object.to_owned(),
        ..ObjectProof::default()
    };
    for item in &originals.functions {
        match prove_item(&mut prover, item) {
            ItemProof::Proven => proof.proven += 1,
            ItemProof::Absent(name) => proof.absent.push(name),
            ItemProof::Failed(failure) => proof.failed.push(failure),
        }
    }
    for item in &originals.constants {
        match prove_item(&mut prover, item) {
            ItemProof::Proven => proof.proven_constants += 1,
            // The base's symbol table may omit symbols that nothing refers to.
            ItemProof::Absent(_) => {}
            ItemProof::Failed(failure) => proof.failed_constants.push(failure),
        }
    }
    proof.deviations = prover.deviations;
    proof.plain_names = prover.plain_names;
    // What the object defines itself, a linker leads nowhere else; of its variables nothing is
    // known here.
    let own = originals.functions.iter().chain(&originals.constants);
    for item in own.filter(|item| item.file.is_none()) {
        proof.plain_names.remove(&item.name);
    }
    proof.plain_names.retain(|name| {
        let name = QualifiedName { file: None, name };
        let found = base.lookup(name).found();
        found.is_some_and(|symbol| symbol.kind != SymbolKind::Data)
    });
    proof
}

/// The result for one item.
enum ItemProof {
    Proven,
    Absent(String),
    Failed(ItemFailure),
}

/// Shortcut S21: a linker drops a weak definition where a strong one is, so its absence says
/// nothing of the base.
fn prove_item<'base>(prover: &mut Prover<'base, '_>, item: &'base OriginalItem<'_>) -> ItemProof {
    let base = prover.base;
    let name = QualifiedName {
        file: item.file.as_deref(),
        name: &item.name,
    };
    let candidates = match base.lookup(name) {
        Lookup::Found(symbol) => vec![symbol],
        Lookup::Ambiguous(symbols) => symbols,
        Lookup::Absent => return ItemProof::Absent(name.to_string()),
    };
    // A weak definition may have been overridden by another object; then the base does not contain
    // it.
    let is_overridden =
        |symbol: &BaseSymbol<'_>| item.binding == elf::STB_WEAK.0 && symbol.scope == Scope::Global;
    if candidates.iter().all(|symbol| is_overridden(symbol)) {
        return ItemProof::Absent(name.to_string());
    }
    let mut first_failure = None;
    for symbol in candidates {
        match prove_symbol(prover, item, symbol) {
            Ok(()) => return ItemProof::Proven,
            Err(failure) => {
                first_failure.get_or_insert(failure);
            }
        }
    }
    match first_failure {
        Some(failure) => ItemProof::Failed(ItemFailure {
            name: name.to_string(),
            message: failure.explain(base, item, None),
            failure,
        }),
        None => ItemProof::Absent(name.to_string()),
    }
}

fn prove_symbol<'base>(
    prover: &mut Prover<'base, '_>,
    item: &'base OriginalItem<'_>,
    symbol: &BaseSymbol<'_>,
) -> Result<(), ProofFailure> {
    let expected = item.named_size;
    if symbol.size_bytes != 0 && symbol.size_bytes != expected {
        return Err(ProofFailure {
            offset: 0,
            address: symbol.address,
            kind: FailureKind::SizeDiffers {
                expected,
                found: symbol.size_bytes,
            },
        });
    }
    prover.prove(item, symbol.address)
}

/// The proof of a whole tree, in the order of its objects.
#[derive(Clone, Debug, Default)]
pub struct TreeProof {
    /// Objects that are linked into the base.
    pub objects: u64,
    /// Their functions that the base holds.
    pub proven: u64,
    /// Their constants that the base holds.
    pub proven_constants: u64,
    /// Their functions that the base does not have, as `object: name`.
    pub absent: Vec<String>,
    /// Functions that differ, with their object.
    pub failed: Vec<(String, ItemFailure)>,
    /// Constants that differ, with their object.
    pub failed_constants: Vec<(String, ItemFailure)>,
    /// Objects none of whose items the base has.
    pub unlinked: Vec<String>,
    /// Objects that either are not linked either, because others define the same globals, or are
    /// of another build in every one of their functions.
    pub superseded: Vec<String>,
    /// How often the linker changed something that was proven all the same.
    pub deviations: Deviations,
    /// Names that a linker may lead elsewhere, and that references of one object to another lead
    /// to.
    pub plain_names: BTreeSet<String>,
}

impl TreeProof {
    /// Adds the proof of one object.
    pub fn add(&mut self, object: ObjectProof) {
        self.deviations.add(object.deviations);
        if !object.is_named_in_base() {
            if !object.absent.is_empty() {
                self.unlinked.push(object.object);
            }
            return;
        }
        if object.is_superseded() {
            self.superseded.push(object.object);
            return;
        }
        self.objects += 1;
        self.plain_names.extend(object.plain_names);
        self.proven += object.proven;
        self.proven_constants += object.proven_constants;
        let name = object.object;
        self.absent
            .extend(object.absent.iter().map(|item| format!("{name}: {item}")));
        let of_object = |item| (name.clone(), item);
        self.failed.extend(object.failed.into_iter().map(of_object));
        self.failed_constants
            .extend(object.failed_constants.into_iter().map(of_object));
    }

    /// The share of items that were proven, in whole percent, rounded down; 100 for none.
    #[must_use]
    pub fn percent_proven(&self) -> u64 {
        let all = self.proven + self.failed.len() as u64;
        (self.proven * 100).checked_div(all).unwrap_or(100)
    }
}

//! The proof over everything that was linked: one changed function may match by chance, a whole
//! tree does not. A stale or foreign tree shows as functions that differ or are not there.

use xsplice_diff::OriginalItem;

use super::{Deviations, FailureKind, ProofFailure, Prover};
use crate::base::{Base, BaseSymbol, Lookup, QualifiedName};

/// What became of the items of one object.
#[derive(Clone, Debug, Default)]
pub struct ObjectProof {
    /// The object.
    pub object: String,
    /// Items that the base holds as the object does.
    pub proven: u64,
    /// Items of which the base has no symbol.
    pub absent: Vec<String>,
    /// Items that differ.
    pub failed: Vec<ItemFailure>,
    /// What the linker changed and was followed.
    pub deviations: Deviations,
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
    /// Whether the base has any symbol that this object defines.
    #[must_use]
    pub fn is_named_in_base(&self) -> bool {
        self.proven != 0 || !self.failed.is_empty()
    }

    /// Whether the base has every one of its symbols from elsewhere, as of a library's member that
    /// another object stood in for: all are global, and none is the same.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.proven == 0 && self.failed.iter().all(|item| !item.name.contains('#'))
    }
}

/// Proves the items of one object. Of several base symbols of one name, any may be it.
#[must_use]
pub fn prove_object(base: &Base<'_>, object: &str, items: &[OriginalItem<'_>]) -> ObjectProof {
    let mut prover = Prover::new(base);
    let mut proof = ObjectProof {
        object: object.to_owned(),
        ..ObjectProof::default()
    };
    for item in items {
        let name = QualifiedName {
            file: item.file.as_deref(),
            name: &item.name,
        };
        let candidates = match base.lookup(name) {
            Lookup::Found(symbol) => vec![symbol],
            Lookup::Ambiguous(symbols) => symbols,
            Lookup::Absent => {
                proof.absent.push(name.to_string());
                continue;
            }
        };
        let mut first_failure = None;
        let is_proven =
            candidates
                .into_iter()
                .any(|symbol| match prove_symbol(&mut prover, item, symbol) {
                    Ok(()) => true,
                    Err(failure) => {
                        first_failure.get_or_insert(failure);
                        false
                    }
                });
        match first_failure {
            Some(failure) if !is_proven => proof.failed.push(ItemFailure {
                name: name.to_string(),
                message: failure.explain(base, item, None),
                failure,
            }),
            _ => proof.proven += 1,
        }
    }
    proof.deviations = prover.deviations;
    proof
}

fn prove_symbol<'base>(
    prover: &mut Prover<'base, '_>,
    item: &'base OriginalItem<'_>,
    symbol: &BaseSymbol<'_>,
) -> Result<(), ProofFailure> {
    let expected = item.bytes.len() as u64;
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
    /// Their items that the base holds.
    pub proven: u64,
    /// Their items that the base does not have, as `object: name`.
    pub absent: Vec<String>,
    /// Items that differ, with their object.
    pub failed: Vec<(String, ItemFailure)>,
    /// Objects none of whose items the base has.
    pub unlinked: Vec<String>,
    /// Objects that either are not linked either, because others define the same globals, or are
    /// of another build in every one of their functions.
    pub superseded: Vec<String>,
    /// What the linker changed and was followed.
    pub deviations: Deviations,
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
        self.proven += object.proven;
        let name = object.object;
        self.absent
            .extend(object.absent.iter().map(|item| format!("{name}: {item}")));
        self.failed
            .extend(object.failed.into_iter().map(|item| (name.clone(), item)));
    }

    /// The share of items that were proven, in whole percent, rounded down; 100 for none.
    #[must_use]
    pub fn percent_proven(&self) -> u64 {
        let all = self.proven + self.failed.len() as u64;
        (self.proven * 100).checked_div(all).unwrap_or(100)
    }
}

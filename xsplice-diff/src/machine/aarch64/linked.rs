//! What linkers make of AArch64 code.
//!
//! * Workarounds for two errata of the Cortex-A53: an instruction moves into a stub and leaves a
//!   branch to it (835769 and 843419), or an ADRP whose page is near becomes an ADR of the page.
//! * Relaxation: ADRP and ADD become a NOP and an ADR.
//! * A call of an undefined weak function becomes a NOP.
//! * A branch that does not reach goes through a veneer.

use xsplice_abi::machine::aarch64::{ABS64, ADD_ABS_LO12_NC, ADR_PREL_PG_HI21};
use xsplice_abi::machine::{Kind, RelocationType, Told};

use super::super::linked::{Fetch, Linked, Place};
use super::word::{BYTES, Class, Word};

/// The registers that a veneer may use (Procedure Call Standard, 6.1.1).
const VENEER_REGISTERS: [u32; 2] = [16, 17];
/// The page of a place.
const PAGE: u64 = !0xfff;

pub(in super::super) fn told(
    kind: &RelocationType,
    place: &Place<'_>,
    fetch: Fetch<'_>,
) -> Option<Linked> {
    let field = &kind.field;
    let is_code = field.bytes() == BYTES && field.mask() != u64::from(u32::MAX);
    if !is_code {
        return Some(Linked {
            told: field.told(place.linked, place.address)?,
            is_rewritten: false,
        });
    }
    let (ours, linked) = (Word::read(place.ours)?, Word::read(place.linked)?);
    if let Some(told) = direct(kind, ours, linked, place.address) {
        return Some(Linked {
            told,
            is_rewritten: false,
        });
    }
    let told = match (ours.class(), linked.class()) {
        (Class::Adrp, Class::Adr) if ours.first() == linked.first() => {
            let page = linked.target(place.address)? & PAGE;
            Told {
                value: page,
                mask: PAGE,
            }
        }
        // What it told is told by the instruction that added the rest.
        (Class::Adrp, _) if linked.is_nop() => Told { value: 0, mask: 0 },
        (Class::AddNumber, Class::Adr) if ours.is_add() && ours.first() == linked.first() => {
            Told::whole(linked.target(place.address)?)
        }
        (Class::Call | Class::Jump, _) if linked.is_nop() => Told::whole(0),
        _ => {
            let stub = stub(linked, place.address, fetch)?;
            direct(kind, ours, stub, place.address)
                .filter(|_| matches!(field.kind, Kind::LowBits { .. }))?
        }
    };
    Some(Linked {
        told,
        is_rewritten: true,
    })
}

/// What the field says where the bits beside it are the object's.
fn direct(kind: &RelocationType, ours: Word, linked: Word, address: u64) -> Option<Told> {
    let filled = u32::try_from(kind.field.mask()).ok()?;
    if (ours.0 ^ linked.0) & !filled != 0 {
        return None;
    }
    kind.field.told(&linked.0.to_le_bytes(), address)
}

/// The instruction that a branch at an address leads to, if a branch back stands behind it.
fn stub(branch: Word, address: u64, fetch: Fetch<'_>) -> Option<Word> {
    if branch.class() != Class::Jump {
        return None;
    }
    let at = branch.target(address)?;
    let code = fetch(at, 2 * BYTES as u64)?;
    let (moved, back) = (Word::read(code)?, Word::read(code.get(BYTES..)?)?);
    let returns = back.class() == Class::Jump
        && back.target(at.wrapping_add(BYTES as u64)) == Some(address.wrapping_add(BYTES as u64));
    returns.then_some(moved)
}

pub(in super::super) fn moved_away(place: &Place<'_>, fetch: Fetch<'_>) -> Option<usize> {
    let (ours, linked) = (Word::read(place.ours)?, Word::read(place.linked)?);
    let moved = stub(linked, place.address, fetch)?;
    // What depends on where it stands cannot move.
    let is_movable = ours.lead().is_none() && ours.class() != Class::Adrp;
    (moved == ours && is_movable).then_some(BYTES)
}

pub(in super::super) fn veneer(address: u64, fetch: Fetch<'_>) -> Option<u64> {
    let word = |index: u64| {
        let at = address.wrapping_add(index * BYTES as u64);
        Some((Word::read(fetch(at, BYTES as u64)?)?, at))
    };
    let (first, at) = word(0)?;
    let register = first.first();
    let goes_there = |index| {
        let jump = word(index).map(|(jump, _)| jump);
        jump.is_some_and(|jump| jump.class() == Class::IndirectJump && jump.second() == register)
    };
    let is_scratch = VENEER_REGISTERS.contains(&register);
    match first.class() {
        // adrp x16, page; add x16, x16, #low; br x16
        Class::Adrp if is_scratch && goes_there(2) => {
            let (second, place) = word(1)?;
            let adds = second.is_add() && (second.first(), second.second()) == (register, register);
            let field = |kind: &RelocationType, word: Word, place| {
                kind.field.told(&word.0.to_le_bytes(), place)
            };
            let page = field(&ADR_PREL_PG_HI21, first, at)?;
            let low = field(&ADD_ABS_LO12_NC, second, place).filter(|_| adds)?;
            page.and(low)?.address()
        }
        // ldr x16, literal; br x16
        Class::LoadLiteral if is_scratch && goes_there(1) => {
            let literal = fetch(first.target(at)?, ABS64.field.bytes() as u64)?;
            Some(u64::from_le_bytes(*literal.first_chunk()?))
        }
        // ldr x16, literal; adr x17, .; add x16, x16, x17; br x16
        Class::LoadLiteral if is_scratch && goes_there(3) => {
            let (here, place) = word(1)?;
            let (sum, _) = word(2)?;
            let adds = sum.is_sum_of(register, register, here.first());
            let literal = fetch(first.target(at)?, ABS64.field.bytes() as u64)?;
            let distance = u64::from_le_bytes(*literal.first_chunk()?);
            let origin = here
                .target(place)
                .filter(|_| here.class() == Class::Adr && adds)?;
            Some(origin.wrapping_add(distance))
        }
        _ => None,
    }
}

//! Resolves symbols to addresses and writes the relocated fields.

use alloc::vec::Vec;

use xsplice_abi::Profile;
use xsplice_abi::machine::{Kind, Machine};

use crate::check::{CheckError, Fault, sections};
use crate::load::place::Image;
use crate::read::view::{Place, View};

/// Addresses of the symbols of a payload, by index; `None` for those that are not loaded.
pub(crate) type Addresses = Vec<Option<u64>>;

/// Finds the address of every symbol; `resolve` knows the undefined ones by name.
///
/// # Errors
/// The error of `resolve`, with its symbol.
pub(crate) fn addresses<'data>(
    view: &View<'data>,
    image: &Image,
    mut resolve: impl FnMut(&str) -> Result<u64, Fault>,
) -> Result<Addresses, CheckError<'data>> {
    let mut addresses = Vec::new();
    addresses
        .try_reserve_exact(view.symbols.len())
        .map_err(|_| Fault::OutOfMemory.of_file())?;
    for (index, symbol) in view.symbols.iter().enumerate() {
        addresses.push(match symbol.place {
            _ if index == 0 => None,
            Place::Absolute => Some(symbol.value),
            Place::Section(id) => image
                .address(id)
                .map(|address| address.wrapping_add(symbol.value)),
            Place::Undefined => {
                Some(resolve(symbol.name).map_err(|fault| fault.of_file().about(symbol.name))?)
            }
            Place::Common | Place::Reserved(_) => None,
        });
    }
    Ok(addresses)
}

/// Writes every relocated field of the loaded sections.
///
/// # Errors
/// A value that does not fit its field; what [`sections::relocations`] would have refused.
pub(crate) fn apply<'data>(
    view: &View<'data>,
    (profile, machine): (&Profile, &Machine),
    addresses: &[Option<u64>],
    image: &mut Image,
) -> Result<(), CheckError<'data>> {
    for table in &view.relocations {
        let Some((id, target)) = sections::relocated(view, table)? else {
            continue;
        };
        let Some(start) = image.address(id) else {
            continue;
        };
        let Some(bytes) = image.section_mut(id, target) else {
            return Err(Fault::RelocationTarget.at(target.name, 0));
        };
        for entry in &table.entries {
            let name = view.symbol(entry.symbol).map_or("", |symbol| symbol.name);
            let fault = |fault: Fault| fault.at(target.name, entry.offset).about(name);
            let kind = profile
                .relocation(machine, entry.kind)
                .ok_or(fault(Fault::RelocationType { kind: entry.kind }))?;
            let symbol = addresses
                .get(entry.symbol.index())
                .copied()
                .flatten()
                .ok_or(fault(Fault::RelocationUnloaded))?;
            let position = start.wrapping_add(entry.offset);
            let sum = i128::from(symbol) + i128::from(entry.addend);
            if kind.field.kind == Kind::Nothing {
                continue;
            }
            let value = kind.field.value(sum, position);
            let value = value.ok_or(fault(Fault::RelocationType { kind: entry.kind }))?;
            let overflow = fault(Fault::RelocationOverflow { value });
            let field = usize::try_from(entry.offset)
                .ok()
                .and_then(|offset| bytes.get_mut(offset..)?.get_mut(..kind.field.bytes()))
                .ok_or(fault(Fault::RelocationOutside))?;
            kind.field.write(field, value).ok_or(overflow)?;
        }
    }
    Ok(())
}

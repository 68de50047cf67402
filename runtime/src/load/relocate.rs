//! Turns symbols into addresses and writes them into the relocated fields.

use alloc::vec::Vec;

use xsplice_abi::Profile;
use xsplice_abi::relocation::Field;

use crate::check::{CheckError, Fault, sections};
use crate::load::place::Image;
use crate::read::view::{Place, View};

/// Addresses of the symbols of a payload, by index; `None` for those that are not loaded.
pub type Addresses = Vec<Option<u64>>;

/// Finds the address of every symbol; `resolve` knows the undefined ones by name.
///
/// # Errors
/// What `resolve` says, about the symbol it said it of.
pub fn addresses<'data>(
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
pub fn apply<'data>(
    view: &View<'data>,
    profile: &Profile,
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
                .relocation(entry.kind)
                .ok_or(fault(Fault::RelocationType { kind: entry.kind }))?;
            let symbol = addresses
                .get(entry.symbol.index())
                .copied()
                .flatten()
                .ok_or(fault(Fault::RelocationUnloaded))?;
            let position = start.wrapping_add(entry.offset);
            let sum = i128::from(symbol) + i128::from(entry.addend);
            let value = match kind.field {
                Field::None => continue,
                Field::Absolute64 | Field::AbsoluteSigned32 => sum,
                Field::PcRelative32 | Field::PcRelative64 => sum - i128::from(position),
            };
            let encoded = encode(kind.field, value);
            let encoded = encoded.ok_or(fault(Fault::RelocationOverflow { value }))?;
            let field = usize::try_from(entry.offset)
                .ok()
                .and_then(|offset| bytes.get_mut(offset..)?.get_mut(..kind.field.bytes()))
                .ok_or(fault(Fault::RelocationOutside))?;
            field.copy_from_slice(encoded.get(..kind.field.bytes()).unwrap_or_default());
        }
    }
    Ok(())
}

/// The field's bytes, little-endian, in the first [`Field::bytes`] bytes; `None` on overflow.
fn encode(field: Field, value: i128) -> Option<[u8; 8]> {
    let value = match field {
        Field::None => 0,
        // A sum below 0 or past the top is no address: it wraps in hardware and is refused here.
        Field::Absolute64 => u64::try_from(value).ok()?,
        Field::PcRelative64 => i64::try_from(value).ok()?.cast_unsigned(),
        Field::PcRelative32 => i64::from(i32::try_from(value).ok()?).cast_unsigned(),
        Field::AbsoluteSigned32 => {
            // The 32 bits are sign-extended by the instruction: the whole address must come back.
            let address = u64::try_from(value).ok()?.cast_signed();
            i64::from(i32::try_from(address).ok()?).cast_unsigned()
        }
    };
    Some(value.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::encode;
    use xsplice_abi::relocation::Field;

    #[test]
    fn each_field_takes_its_range_and_nothing_more() {
        let high = 0xffff_ffff_8020_0000_u64;
        let fits = |field, value: i128| encode(field, value).is_some();
        assert!(fits(Field::AbsoluteSigned32, high.into()));
        assert!(fits(Field::AbsoluteSigned32, 0x7fff_ffff));
        assert!(!fits(Field::AbsoluteSigned32, 0x8000_0000));
        assert!(!fits(Field::AbsoluteSigned32, 0xffff_ffff_7fff_ffff));
        assert!(!fits(Field::AbsoluteSigned32, -1));
        assert!(fits(Field::PcRelative32, 0x7fff_ffff) && fits(Field::PcRelative32, -0x8000_0000));
        assert!(!fits(Field::PcRelative32, 0x8000_0000));
        assert!(!fits(Field::PcRelative32, -0x8000_0001));
        assert!(fits(Field::Absolute64, u64::MAX.into()) && !fits(Field::Absolute64, 1 << 64));
        assert!(fits(Field::PcRelative64, i64::MIN.into()) && !fits(Field::PcRelative64, 1 << 63));
        assert_eq!(
            encode(Field::AbsoluteSigned32, high.into()).map(|bytes| bytes[..4].to_vec()),
            Some(vec_of(0x8020_0000))
        );
    }

    fn vec_of(value: u32) -> alloc::vec::Vec<u8> {
        value.to_le_bytes().to_vec()
    }
}

//! What `--depends` and `--xen-depends` mean: a build-id in hexadecimal, an image or a payload.

use std::ops::Deref;

use crate::base::Base;
use crate::build_id::BuildId;
use crate::error::LinkError;
use crate::facts::Facts;
use crate::options::{Below, StacksOn};
use crate::read;

/// The id that the digits give, with or without the `0x` that linkers require.
fn from_digits(text: &str) -> Option<BuildId> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    BuildId::from_hex(digits.unwrap_or(text))
}

impl BuildId {
    /// Reads an option's value: hexadecimal digits, or a file that carries a build-id. A file
    /// whose name looks like an id is given as `./NAME`. `open` gives the bytes of the file that
    /// the text names, `None` where there is no such file.
    ///
    /// # Errors
    /// [`LinkError::NoSuchId`] when it is neither; [`LinkError`] when the file cannot be read.
    pub fn from_argument<B: Deref<Target = [u8]>>(
        text: &str,
        open: impl FnOnce(&str) -> Result<Option<B>, LinkError>,
    ) -> Result<BuildId, LinkError> {
        match from_digits(text) {
            Some(id) => Ok(id),
            None => BuildId::of_image(text, &named(text, open)?),
        }
    }
}

/// The bytes of the file that `text` names.
fn named<B>(
    text: &str,
    open: impl FnOnce(&str) -> Result<Option<B>, LinkError>,
) -> Result<B, LinkError> {
    open(text)?.ok_or_else(|| LinkError::NoSuchId {
        text: text.to_owned(),
    })
}

impl StacksOn {
    /// Reads the value of `--depends`. For a payload, what it replaces and exports is read too; the
    /// base's own id means the base. `made_for` is the id of the image that both run on; `open` is
    /// as for [`BuildId::from_argument`].
    ///
    /// # Errors
    /// As [`BuildId::from_argument`]; [`LinkError::OtherBase`] for a payload that runs on another
    /// image.
    pub fn from_argument<B: Deref<Target = [u8]>>(
        text: &str,
        base: &Base<'_>,
        made_for: &BuildId,
        open: impl FnOnce(&str) -> Result<Option<B>, LinkError>,
    ) -> Result<StacksOn, LinkError> {
        if let Some(id) = from_digits(text) {
            return Ok(if id == *base.build_id() {
                StacksOn::Base
            } else {
                StacksOn::Id(id)
            });
        }
        let file = named(text, open)?;
        let id = BuildId::of_image(text, &file)?;
        if id == *base.build_id() {
            return Ok(StacksOn::Base);
        }
        match Below::of_payload(text, &file, base, made_for)? {
            Some(below) => Ok(StacksOn::Payload(below)),
            None => Ok(StacksOn::Id(id)),
        }
    }
}

impl Below {
    /// Reads what a link needs to know about the payload in `file`. `None` when it is no payload
    /// (another image), or when it stacks on a further payload, about which nothing is known.
    ///
    /// # Errors
    /// [`LinkError::Payload`] when it cannot be read, [`LinkError::OtherBase`] when it is for
    /// another image than `made_for`.
    pub fn of_payload(
        path: &str,
        file: &[u8],
        base: &Base<'_>,
        made_for: &BuildId,
    ) -> Result<Option<Below>, LinkError> {
        let view = read::read(file).map_err(|source| LinkError::Payload {
            path: path.to_owned(),
            source,
        })?;
        let facts = Facts::new(&view);
        let is_payload = view.header.kind == object::elf::ET_REL.0;
        let Some(build_id) = facts.build_id.clone().filter(|_| is_payload) else {
            return Ok(None);
        };
        if let Some(other) = facts.base_id.as_ref().filter(|id| *id != made_for) {
            return Err(LinkError::OtherBase {
                path: path.to_owned(),
                other: other.clone(),
                made_for: made_for.clone(),
            });
        }
        if facts.depends.as_ref() != Some(base.build_id()) {
            return Ok(None);
        }
        let replaced = facts
            .records
            .iter()
            .filter_map(|record| {
                let address = facts.old_address(record, base)?;
                Some(address..address.saturating_add(u64::from(record.old_size)))
            })
            .collect();
        let exports = facts
            .defined()
            .filter(|symbol| symbol.binding != object::elf::STB_LOCAL.0)
            .map(|symbol| symbol.name.to_owned())
            .collect();
        Ok(Some(Below {
            build_id,
            replaced,
            exports,
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::build_id::BuildId;
    use crate::error::LinkError;

    #[test]
    fn an_id_is_read_with_and_without_the_prefix_of_linkers() {
        let no_file = |_: &str| -> Result<Option<Vec<u8>>, LinkError> { Ok(None) };
        let id = BuildId::from_argument("abcd", no_file).expect("two bytes");
        let prefixed = BuildId::from_argument("0xABcd", no_file).expect("two bytes");
        assert_eq!(prefixed, id);
        for text in ["0x", "0xabc", "0x0xab"] {
            let error = BuildId::from_argument(text, no_file).expect_err("is no id");
            assert!(error.to_string().contains("two digits a byte"), "{error}");
        }
    }
}

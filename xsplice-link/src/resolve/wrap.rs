//! Names that the link of the base may have led elsewhere.
//!
//! With `--wrap=NAME`, what objects call NAME and do not define is `__wrap_NAME`, and what they
//! call `__real_NAME` is NAME. The image does not say whether it was linked so. Where it has a
//! `__wrap_NAME`, only a reference in it tells: one that leads to the place of its name.

use xsplice_diff::extract::{Extract, OriginalTarget};

use super::Resolver;
use crate::base::names;
use crate::error::{Refusal, RefusalCode};
use crate::options::BaseProof;

impl Resolver<'_, '_> {
    /// Refuses a name that may stand for a wrapper, unless a reference is known to lead to it.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check_wrapped(&self, extract: &Extract<'_>, name: &str) -> Result<(), Refusal> {
        let wrapper = || format!("{}{}", names::WRAPPER, names::without_real(name));
        let is_new = || self.new_globals.contains_key(wrapper().as_str());
        let may_be = self.base.may_be_wrapped(name) || is_new();
        if !may_be || self.options.plain_names.contains(name) || self.led_there(extract, name) {
            return Ok(());
        }
        let wrapper = wrapper();
        let message = format!(
            "may be {wrapper} in {}: a linker that is told to wrap it leads the name there, and no \
             reference in the image tells; if it was told so, refer to {wrapper}, and if not, give \
             what is meant a further name",
            self.base.path()
        );
        Err(Refusal::new(RefusalCode::AmbiguousSymbol, &extract.object, message).of(name))
    }

    /// Whether a function that the object replaces refers to the name: its proof shows that the
    /// base's does too.
    fn led_there(&self, extract: &Extract<'_>, name: &str) -> bool {
        let originals = extract.records.iter().map(|record| &record.original);
        let mut all = originals.flat_map(|original| &original.relocations);
        self.options.proof == BaseProof::Required
            && all.any(|one| match &one.target {
                OriginalTarget::Symbol { name: other, file } => file.is_none() && other == name,
                _ => false,
            })
    }
}

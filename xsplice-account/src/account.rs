//! The account of a run: reads everything, finds the places, and holds both links side by side.

use serde::Serialize;

use crate::after::{self, AfterAccount};
use crate::base::{self, ImageAccount};
use crate::error::AccountError;
use crate::follow::Follower;
use crate::follow::claims::Claims;
use crate::link::{self, LinkAccount, Linked};
use crate::read::image::Image;
use crate::read::payload::Payload;
use crate::read::tree::Tree;

/// What the account is made of.
#[derive(Debug)]
pub struct Inputs<'data> {
    /// The base.
    pub base: &'data [u8],
    /// Whether the objects are all of their builds.
    pub given: Given,
    /// Objects of the original build, by name.
    pub original: Vec<(&'data str, &'data [u8])>,
    /// Objects of the patched build, by name.
    pub patched: Vec<(&'data str, &'data [u8])>,
    /// Objects that the author left out by name, as the original build has them: they count as
    /// unchanged.
    pub left_out: Vec<(&'data str, &'data [u8])>,
    /// The image that was linked from the patched build, where there is one.
    pub patched_image: Option<&'data [u8]>,
    /// The payload; `None` when the differ found no change.
    pub payload: Option<&'data [u8]>,
    /// Names of what the author accepted.
    pub accepted: Vec<String>,
}

/// How much of the builds is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Everything that the images were linked from.
    Tree,
    /// One object: nothing can be said of the rest.
    Object,
}

/// The account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The base's bytes; `None` when only one object was given.
    pub base: Option<ImageAccount>,
    /// The patched build's bytes, once the payload is applied.
    pub after: AfterAccount,
    /// Whether the patched build's own link was looked at.
    pub link_compared: bool,
    /// That link; `None` when there is no image of the patched build.
    pub link: Option<LinkAccount>,
}

impl Account {
    /// Whether everything has a place.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_linked_alike = self
            .link
            .as_ref()
            .is_none_or(|link| link.image.unknown.is_empty() && link.differences.is_empty());
        let is_known = |image: &ImageAccount| image.unknown.is_empty();
        self.base.as_ref().is_none_or(is_known) && self.after.missing.is_empty() && is_linked_alike
    }
}

/// Makes the account.
///
/// # Errors
///
/// When one of the inputs cannot be read.
pub fn account(inputs: &Inputs<'_>) -> Result<Account, AccountError> {
    let image = Image::parse(inputs.base)?;
    let is_whole = inputs.given == Given::Tree;
    let patched_image = inputs
        .patched_image
        .filter(|_| is_whole)
        .map(Image::parse)
        .transpose()?;
    let payload = inputs
        .payload
        .map(|bytes| Payload::parse(bytes, &image))
        .transpose()?;
    let mut original = Tree::read(&inputs.original, &inputs.left_out, None);
    let mut patched = Tree::read(&inputs.patched, &inputs.left_out, Some(&original));
    let foreign = choose_linked(&mut original, &image);
    match &patched_image {
        Some(image) => {
            choose_linked(&mut patched, image);
        }
        None => choose_as_before(&mut patched, &original, &foreign),
    }
    let placed = base::placed(&original, &image);
    let claims = Claims::new(&original, &placed.follower, placed.starts());
    let accepted = &inputs.accepted;
    let mut after = Follower::new(&patched, &image, payload.as_ref(), Some(&claims), accepted);
    let after_account = after::account(&mut after);
    let link = patched_image.as_ref().map(|patched_image| {
        let placed = base::placed(&patched, patched_image);
        let own = Claims::new(&patched, &placed.follower, placed.starts());
        let linked = |claims, image| Linked { claims, image };
        let differences =
            link::differences(linked(&claims, &image), linked(&own, patched_image), &after);
        LinkAccount {
            image: base::account(&placed),
            differences,
        }
    });
    Ok(Account {
        base: is_whole.then(|| base::account(&placed)),
        after: after_account,
        link_compared: link.is_some(),
        link,
    })
}

/// Lets names stand for what the link of `image` chose. Returns those for which it chose none of
/// the objects.
fn choose_linked<'data>(tree: &mut Tree<'data>, image: &Image<'data>) -> Vec<&'data str> {
    let follower = Follower::new(tree, image, None, None, &[]);
    let winners = base::winners(&follower);
    let foreign = base::foreign(&follower);
    for (name, object) in winners {
        tree.choose_linked(name, object);
    }
    for name in &foreign {
        tree.forget(name);
    }
    foreign
}

/// Lets names stand for what those of the original build do: weak ones for the definition of the
/// same object, since the objects are linked in the same order; `foreign` ones for none.
fn choose_as_before(patched: &mut Tree<'_>, original: &Tree<'_>, foreign: &[&str]) {
    let shared = patched.shared_names().map(|(name, _)| name);
    let weak: Vec<&str> = shared.filter(|name| patched.is_weak(name)).collect();
    for name in weak {
        let before = original.chosen(name);
        let object = before.and_then(|before| patched.object(&original.objects[before].elf.name));
        if let Some(object) = object {
            patched.choose(name, object);
        }
    }
    for name in foreign {
        patched.forget(name);
    }
}

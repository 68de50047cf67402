//! Puts reasons into words, for reports for people.

use std::fmt;

use crate::verdict::kinds::Reason;

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::BytesDiffer { offset } => write!(out, "the code differs from +{offset:#x} on"),
            Reason::SizeDiffers { old, new } => {
                write!(out, "the size differs: {new} bytes, was {old}")
            }
            Reason::TargetDiffers { offset, old, new } => {
                write!(out, "+{offset:#x} refers to {new}, was {old}")
            }
            Reason::RelocationDiffers { offset, old, new } => {
                write!(out, "the relocation at +{offset:#x} is {new}, was {old}")
            }
            Reason::StringDiffers { offset, old, new } => {
                write!(out, "the string at +{offset:#x} reads {new:?}, was {old:?}")
            }
            Reason::ConstantDiffers { offset, name, at } => {
                write!(
                    out,
                    "the constant {name} at +{offset:#x} differs from +{at:#x} on"
                )
            }
            Reason::ColdPartDiffers { name, reasons } => {
                write!(out, "its part {name} differs")?;
                for (index, reason) in reasons.iter().enumerate() {
                    write!(out, "{}{reason}", if index == 0 { ": " } else { "; " })?;
                }
                Ok(())
            }
            Reason::SpecialEntryDiffers { section, detail } => {
                write!(out, "its entries of {section} differ: {detail}")
            }
            Reason::PlacementDiffers { old, new } => {
                write!(out, "it must be {new}, and was {old}")
            }
            Reason::PulledIn { by } => write!(out, "new, and {by} refers to it"),
            Reason::NewGlobal => out.write_str("new, and other objects may refer to it"),
            Reason::NewObject => out.write_str("the whole object is new"),
            Reason::Hook { section } => write!(out, "{section} refers to it"),
            Reason::LooksLikeLineNumbers => {
                out.write_str("looks like line numbers only, but that is not proven")
            }
            Reason::LooksLikeBuildStamp => out
                .write_str("looks like a date, time or build number that every build writes anew"),
            Reason::LayoutOnly { types } if types.is_empty() => out.write_str(
                "only displacements differ: other members are used, or the layout of \
                               a structure changed",
            ),
            Reason::LayoutOnly { types } => {
                write!(
                    out,
                    "only displacements differ: the layout of {} changed",
                    types.join(", ")
                )
            }
        }
    }
}

//! What happens at a fault: which vector it is, which table of the image or of a payload covers it,
//! where the address belongs.

pub(crate) mod location;
pub(crate) mod tables;
pub(crate) mod trap;

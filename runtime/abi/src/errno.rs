//! Error numbers, as the hypercalls return them.
//!
//! The values are the classic System V ones that Xen's public `errno.h` fixes for its ABI. A call
//! returns the negated value.

use core::fmt;

/// One error number. [`Errno::code`] is the positive value; hypercalls return `-code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(i32);

macro_rules! errno {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Errno = Errno($value);)*

            /// The symbolic name, such as `"EINVAL"`, or `None` for a number outside the ABI.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// A short phrase for people, such as `"invalid argument"`.
            #[must_use]
            pub const fn phrase(self) -> &'static str {
                match self.0 {
                    $($value => $text,)*
                    _ => "unknown error",
                }
            }
        }
    };
}

errno! {
    /// The caller is not privileged.
    EPERM = 1, "operation not permitted";
    /// Unknown payload, or an undefined symbol that nothing defines.
    ENOENT = 2, "no such entry";
    /// Not an ELF object that this loader takes.
    ENOEXEC = 8, "exec format error";
    /// The list batch is larger than allowed.
    E2BIG = 7, "argument list too long";
    /// The action is scheduled and has not finished.
    EAGAIN = 11, "try again";
    /// No memory for the payload.
    ENOMEM = 12, "out of memory";
    /// A guest handle points outside the caller's memory.
    EFAULT = 14, "bad address";
    /// Another action is in progress, the payload is not on top, or a CPU did not arrive in time.
    EBUSY = 16, "device or resource busy";
    /// A name, build-id or symbol that is already taken.
    EEXIST = 17, "already exists";
    /// An argument, a state or a payload that breaks a rule.
    EINVAL = 22, "invalid argument";
    /// A number outside its range.
    ERANGE = 34, "result out of range";
    /// The operation is not implemented.
    ENOSYS = 38, "function not implemented";
    /// A buffer that is too short.
    ENOBUFS = 105, "no buffer space available";
    /// A required section or note is missing.
    ENODATA = 61, "no data available";
    /// A relocation or displacement that does not fit its field.
    EOVERFLOW = 75, "value too large";
    /// A relocation type, section kind or operation that this loader does not take.
    EOPNOTSUPP = 95, "operation not supported";
    /// The key that a signature needs is not known.
    ENOKEY = 126, "required key not available";
    /// A signature that does not match.
    EKEYREJECTED = 129, "key was rejected";
}

impl Errno {
    /// The largest error number: some calls return addresses and errors in one register, and the
    /// last 4,095 values are errors (Xen and Linux, `MAX_ERRNO`).
    pub const MAX: Errno = Errno(4095);

    /// The positive value.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }

    /// What a hypercall returns for this error.
    #[must_use]
    pub const fn negated(self) -> i32 {
        -self.0
    }

    /// Reads a hypercall's return value: `None` when it reports success (zero or more). A negative
    /// value that is no error number counts as [`Errno::EINVAL`].
    #[must_use]
    pub const fn from_return(value: i32) -> Option<Errno> {
        if value >= 0 {
            None
        } else if value >= -Errno::MAX.0 {
            Some(Errno(-value))
        } else {
            Some(Errno::EINVAL)
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(out, "-{name} ({}: {})", self.negated(), self.phrase()),
            None => write!(out, "error {}", self.negated()),
        }
    }
}

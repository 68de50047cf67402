//! The four payload calls: they encode and decode the hypercall structures and hold no rules.

use std::fmt;
use xsplice_abi::Errno;
use xsplice_abi::hypercall::{
    ACTION_FLAG_NODEPS, Action, Get, Name, OP_ACTION, OP_GET, OP_UPLOAD, Operation, Upload,
};
use xsplice_abi::limits::NAME_BYTES_MAX;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::area::Area;
use crate::error::CtlError;
use crate::request::Request;
use crate::transport::Transport;

pub use crate::request::{ActionKind, Dependencies, KernelTimeout, State, Status};

/// A payload's name, known to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadName(String);

impl PayloadName {
    /// Takes a name of 1 to 127 bytes.
    ///
    /// # Errors
    /// [`CtlError::NameLength`].
    pub fn new(name: &str) -> Result<PayloadName, CtlError> {
        if name.is_empty() || name.len() >= NAME_BYTES_MAX {
            return Err(CtlError::NameLength { length: name.len() });
        }
        Ok(PayloadName(name.to_owned()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Puts the name and its NUL into the area.
    fn describe(&self, area: &mut Area) -> Name {
        let mut bytes = self.0.clone().into_bytes();
        bytes.push(0);
        let size = u16::try_from(bytes.len()).expect("a name has at most 128 bytes");
        Name {
            name_handle: area.holding(&bytes).handle(),
            size: U16::new(size),
            pad: [U16::ZERO; 3],
        }
    }

    pub(crate) fn refused(&self, what: Request, errno: Errno, state: Option<State>) -> CtlError {
        CtlError::Refused {
            name: self.0.clone(),
            what,
            errno,
            state,
        }
    }
}

impl fmt::Display for PayloadName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Loads `payload` under `name`.
///
/// # Errors
/// [`CtlError::Refused`] with the kernel's reason, or what the transport says.
pub fn upload(
    transport: &mut dyn Transport,
    name: &PayloadName,
    payload: &[u8],
) -> Result<(), CtlError> {
    let mut area = Area::new();
    let argument = Upload {
        name: name.describe(&mut area),
        size: U64::new(payload.len() as u64),
        payload_handle: area.holding(payload).handle(),
    };
    let mut operation = Operation::with(OP_UPLOAD, &argument);
    let result = transport.sysctl(&mut operation, &mut area.into_bytes())?;
    match Errno::from_return(result) {
        Some(errno) => Err(name.refused(Request::Upload, errno, None)),
        None => Ok(()),
    }
}

/// Asks for the status of `name`; `None` when the kernel does not know it.
///
/// # Errors
/// As [`upload`].
pub fn get(transport: &mut dyn Transport, name: &PayloadName) -> Result<Option<Status>, CtlError> {
    let mut area = Area::new();
    let argument = Get {
        name: name.describe(&mut area),
        ..Get::default()
    };
    let mut operation = Operation::with(OP_GET, &argument);
    let result = transport.sysctl(&mut operation, &mut area.into_bytes())?;
    match Errno::from_return(result) {
        Some(Errno::ENOENT) => Ok(None),
        Some(errno) => Err(name.refused(Request::Get, errno, None)),
        None => {
            let status = operation.read::<Get>().status;
            Ok(Some(Status {
                state: State::from_number(status.state.get()),
                rc: status.rc.get(),
            }))
        }
    }
}

/// Asks for an action; success means that it is done or under way.
///
/// # Errors
/// The kernel's number as it is: the caller knows the state that explains it.
pub fn action(
    transport: &mut dyn Transport,
    name: &PayloadName,
    kind: ActionKind,
    timeout: KernelTimeout,
    dependencies: Dependencies,
) -> Result<Result<(), Errno>, CtlError> {
    let mut area = Area::new();
    let argument = Action {
        name: name.describe(&mut area),
        cmd: U32::new(kind.number()),
        timeout_ns: U32::new(timeout.ns),
        flags: U32::new(match dependencies {
            Dependencies::Enforced => 0,
            Dependencies::Ignored => ACTION_FLAG_NODEPS,
        }),
        pad: U32::ZERO,
    };
    let mut operation = Operation::with(OP_ACTION, &argument);
    let result = transport.sysctl(&mut operation, &mut area.into_bytes())?;
    Ok(match Errno::from_return(result) {
        Some(errno) => Err(errno),
        None => Ok(()),
    })
}

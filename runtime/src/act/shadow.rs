//! Shadow variables: memory that a payload attaches to objects of the base, whose structures it
//! cannot change.
//!
//! A variable is found by the object's address and a number that the payload's author chooses. It
//! outlives a revert, so that a later payload finds it again.

use alloc::vec::Vec;

use xsplice_abi::errno::Errno;

use crate::locks::{Holder, Lock};
use crate::platform::{Interrupts, Platform};

/// One variable.
#[derive(Debug)]
struct Shadow {
    object: u64,
    number: u64,
    /// Aligned to 16 bytes.
    memory: Vec<u128>,
}

impl Shadow {
    fn address(&self) -> u64 {
        u64::try_from(self.memory.as_ptr().addr()).unwrap_or(0)
    }
}

/// All variables.
#[derive(Debug, Default)]
pub struct Shadows {
    /// By object, then number.
    variables: Lock<Vec<Shadow>>,
}

impl Shadows {
    /// Runs `change` with interrupts off: payload code may also run in interrupt handlers.
    fn with<T>(&self, platform: &impl Platform, change: impl FnOnce(&mut Vec<Shadow>) -> T) -> T {
        let before = platform.interrupts_off();
        let result = change(&mut self.variables.lock(platform, Interrupts::Off));
        platform.interrupts_restore(before);
        result
    }

    /// Who has them.
    pub(crate) const fn holder(&self) -> &Holder {
        self.variables.holder()
    }

    fn find(variables: &[Shadow], object: u64, number: u64) -> Result<usize, usize> {
        variables.binary_search_by_key(&(object, number), |shadow| (shadow.object, shadow.number))
    }

    /// Address of the variable, if it is there.
    pub fn get(&self, platform: &impl Platform, object: u64, number: u64) -> Option<u64> {
        self.with(platform, |variables| {
            let index = Shadows::find(variables, object, number).ok()?;
            variables.get(index).map(Shadow::address)
        })
    }

    /// Attaches a zeroed variable of `bytes` bytes and returns its address, a multiple of 16.
    ///
    /// # Errors
    /// -EEXIST when it is there already, -EINVAL for no bytes, -ENOMEM.
    pub fn attach(
        &self,
        platform: &impl Platform,
        object: u64,
        number: u64,
        bytes: u64,
    ) -> Result<u64, Errno> {
        if bytes == 0 {
            return Err(Errno::EINVAL);
        }
        let units = usize::try_from(bytes.div_ceil(16)).map_err(|_| Errno::ENOMEM)?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(units).map_err(|_| Errno::ENOMEM)?;
        memory.resize(units, 0);
        let shadow = Shadow {
            object,
            number,
            memory,
        };
        let address = shadow.address();
        self.with(platform, |variables| {
            match Shadows::find(variables, object, number) {
                Ok(_) => Err(Errno::EEXIST),
                Err(index) => {
                    variables.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                    variables.insert(index, shadow);
                    Ok(address)
                }
            }
        })
    }

    /// Address of the variable, attached now if it was not there.
    ///
    /// # Errors
    /// As [`Shadows::attach`], but for -EEXIST.
    pub fn get_or_attach(
        &self,
        platform: &impl Platform,
        object: u64,
        number: u64,
        bytes: u64,
    ) -> Result<u64, Errno> {
        match self.attach(platform, object, number, bytes) {
            Err(Errno::EEXIST) => self.get(platform, object, number).ok_or(Errno::ENOENT),
            other => other,
        }
    }

    /// Frees the variable.
    ///
    /// # Errors
    /// -ENOENT when it is not there.
    pub fn detach(&self, platform: &impl Platform, object: u64, number: u64) -> Result<(), Errno> {
        let shadow = self.with(platform, |variables| {
            let index = Shadows::find(variables, object, number).ok()?;
            Some(variables.remove(index))
        });
        shadow.map(drop).ok_or(Errno::ENOENT)
    }

    /// Frees the variables of this number of all objects; how many there were.
    pub fn detach_all(&self, platform: &impl Platform, number: u64) -> usize {
        let mut count = 0;
        loop {
            // One at a time, so that nothing is freed with the lock held.
            let shadow = self.with(platform, |variables| {
                let index = variables
                    .iter()
                    .position(|shadow| shadow.number == number)?;
                Some(variables.remove(index))
            });
            if shadow.is_none() {
                return count;
            }
            count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shadows;
    use crate::patch::memory::MemoryPlatform;

    #[test]
    fn a_variable_is_zeroes_of_at_least_the_size_asked_for() {
        let (shadows, platform) = (Shadows::default(), MemoryPlatform::new(0..0x1000));
        for (number, bytes, units) in [(1, 1, 1), (2, 16, 1), (3, 17, 2), (4, 100, 7)] {
            let address = shadows.attach(&platform, 0x10, number, bytes).unwrap();
            shadows.with(&platform, |variables| {
                let variable = variables.last().unwrap();
                assert_eq!(variable.address(), address);
                assert_eq!(variable.memory, [0].repeat(units));
            });
        }
    }
}

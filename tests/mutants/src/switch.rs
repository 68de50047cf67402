/// Put into each crate that is changed: says which change this process makes.
///
/// `XSPLICE_MUTANT` is its number. Where `XSPLICE_REACHED` names a file instead, nothing is
/// changed, and the number of each change that would make a difference is appended there, four
/// bytes each.
#[doc(hidden)]
pub mod mutant_switch {
    extern crate std;
    use std::io::Write as _;
    use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

    const UNASKED: u32 = u32::MAX;
    const NONE: u32 = u32::MAX - 1;
    const RECORDS: u32 = u32::MAX - 2;

    static CHOSEN: AtomicU32 = AtomicU32::new(UNASKED);
    static REACHED: [AtomicU8; 65536] = [const { AtomicU8::new(0) }; 65536];

    /// Whether the change of this number is made; notes that it makes a difference here.
    #[inline]
    pub fn on(number: u32) -> bool {
        let chosen = CHOSEN.load(Ordering::Relaxed);
        chosen == number || (chosen >= RECORDS && chosen != NONE && asked(number, true))
    }

    /// Whether it is made.
    #[inline]
    pub fn made(number: u32) -> bool {
        let chosen = CHOSEN.load(Ordering::Relaxed);
        chosen == number || (chosen == UNASKED && asked(number, false))
    }

    /// Notes that it makes a difference here.
    #[inline]
    pub fn reached(number: u32) -> bool {
        if CHOSEN.load(Ordering::Relaxed) == RECORDS {
            asked(number, true);
        }
        true
    }

    /// A value, for which the change makes `instead`: notes whether that is a difference.
    #[inline]
    pub fn seen(number: u32, value: bool, instead: bool) -> bool {
        if value != instead {
            reached(number);
        }
        value
    }

    #[cold]
    fn asked(number: u32, is_noted: bool) -> bool {
        if CHOSEN.load(Ordering::Relaxed) == UNASKED {
            let chosen = std::env::var("XSPLICE_MUTANT").ok().and_then(|text| text.parse().ok());
            let records = std::env::var_os("XSPLICE_REACHED").is_some();
            let otherwise = if records { RECORDS } else { NONE };
            CHOSEN.store(chosen.unwrap_or(otherwise), Ordering::Relaxed);
        }
        let chosen = CHOSEN.load(Ordering::Relaxed);
        if is_noted
            && chosen == RECORDS
            && REACHED[number as usize].swap(1, Ordering::Relaxed) == 0
        {
            if let Some(path) = std::env::var_os("XSPLICE_REACHED") {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
                let _ = file.and_then(|mut file| file.write_all(&number.to_le_bytes()));
            }
        }
        chosen == number
    }
}

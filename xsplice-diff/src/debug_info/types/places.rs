//! Finds the entry at a place of the debug information, which every step from one type to the next
//! asks for.

/// Places of entries, in order.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: Vec<u64>,
    /// Of each stretch of [`STRETCH_BYTES`]: how many places lie in front of it. It ends where
    /// places are too far apart; those behind are searched for.
    stretches: Vec<u32>,
}

/// An entry takes about ten bytes, so that few begin in one stretch.
const STRETCH_BYTES: u64 = 32;

/// More stretches than this times the entries would be a waste.
const STRETCHES_AN_ENTRY_MAX: usize = 4;

impl Places {
    /// `all` are in order.
    pub(super) fn new(all: Vec<u64>) -> Places {
        let stretches_max = all.len().saturating_mul(STRETCHES_AN_ENTRY_MAX);
        let mut stretches: Vec<u32> = Vec::new();
        for (number, &place) in (0..).zip(&all) {
            let wanted = usize::try_from(place / STRETCH_BYTES).unwrap_or(usize::MAX);
            if wanted >= stretches_max {
                break;
            }
            if wanted >= stretches.len() {
                stretches.resize(wanted + 1, number);
            }
        }
        Places { all, stretches }
    }

    /// The number of the entry that begins at a place.
    pub(super) fn find(&self, place: u64) -> Option<u32> {
        let stretch = usize::try_from(place / STRETCH_BYTES).ok()?;
        let Some(&first) = self.stretches.get(stretch) else {
            let found = self.all.binary_search(&place).ok()?;
            return u32::try_from(found).ok();
        };
        let rest = (first..).zip(self.all.get(first as usize..)?);
        let mut near = rest.take_while(|&(_, &at)| at <= place);
        near.find(|&(_, &at)| at == place).map(|(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn every_place_is_found_and_none_beside_it() {
        let far = 1 << 62;
        let all: Vec<u64> = [11, 12, 31, 32, 33, 64, 200, 4096, far, far + 11].into();
        let places = Places::new(all.clone());
        for place in (0..5000).chain(far - 2..far + 40).chain([u64::MAX]) {
            let wanted = all.binary_search(&place).ok();
            let wanted = wanted.map(|at| u32::try_from(at).expect("few"));
            assert_eq!(places.find(place), wanted, "{place}");
        }
        assert_eq!(Places::new(Vec::new()).find(0), None);
    }
}

//! Exhaustive search of a model's states, breadth first, so that what it finds is shortest.
//!
//! Of each state it keeps a fingerprint and by which step of which state it was reached; the way
//! to a fault is walked again to be printed.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt::Display;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Something with states and steps between them.
pub(crate) trait Model {
    /// One state.
    type State: Clone + Hash;
    /// What happens in one step, for traces.
    type Step: Display;

    /// Where it begins.
    fn initial(&self) -> Self::State;
    /// Every step from a state, always in the same order: what happens, and either the next state
    /// or what is violated.
    fn steps(&self, state: &Self::State, steps: &mut Steps<Self>);
    /// Whether everything that was asked for has been done and nobody is busy.
    fn is_at_rest(&self, state: &Self::State) -> bool;
}

/// Steps, and where each leads.
pub(crate) type Steps<M> = Vec<(
    <M as Model>::Step,
    Result<<M as Model>::State, &'static str>,
)>;

/// What a search found.
#[derive(Debug)]
pub(crate) struct Report {
    pub states: usize,
    /// Violations by kind: how often, and the shortest way there.
    pub violations: HashMap<&'static str, (usize, Vec<String>)>,
    /// States from which rest cannot be reached, and the shortest way to one.
    pub stuck: usize,
    pub stuck_trace: Vec<String>,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.stuck == 0
    }

    /// One line for each kind of fault.
    pub(crate) fn faults(&self) -> String {
        let mut faults: Vec<String> = self
            .violations
            .iter()
            .map(|(kind, (count, trace))| format!("{kind} ({count}, {} steps)", trace.len()))
            .collect();
        faults.sort();
        if self.stuck > 0 {
            let steps = self.stuck_trace.len();
            faults.push(format!(
                "never at rest again ({} states, {steps} steps)",
                self.stuck
            ));
        }
        faults.join("; ")
    }
}

/// FNV-1a over 128 bits in two halves: collisions are out of reach for millions of states.
struct Fingerprint(u64, u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint(0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15)
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29);
        self.1 = (self.1 ^ value.rotate_left(17)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.1 ^= self.1 >> 32;
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }
}

#[derive(Default)]
struct Seen(u64);

impl Hasher for Seen {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 ^= value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn fingerprint(state: &impl Hash) -> (u64, u64) {
    let mut hasher = Fingerprint::default();
    state.hash(&mut hasher);
    (hasher.0, hasher.1)
}

/// By which step a state was first reached: from which state, and its number there.
type Reached = (u32, u16);

/// Visits every state that can be reached.
///
/// Panics beyond `limit` states: a search that is cut short proves nothing.
pub(crate) fn explore<M: Model>(model: &M, limit: usize) -> Report {
    let mut index: HashMap<(u64, u64), u32, BuildHasherDefault<Seen>> = HashMap::default();
    let mut reached: Vec<Reached> = vec![(u32::MAX, 0)];
    let mut backward: Vec<(u32, u32)> = Vec::new();
    let mut at_rest: Vec<u32> = Vec::new();
    let mut violations: HashMap<&'static str, (usize, Reached)> = HashMap::new();
    let mut queue = VecDeque::new();
    let initial = model.initial();
    index.insert(fingerprint(&initial), 0);
    queue.push_back((0_u32, initial));
    let mut steps = Vec::new();
    while let Some((from, state)) = queue.pop_front() {
        if model.is_at_rest(&state) {
            at_rest.push(from);
        }
        steps.clear();
        model.steps(&state, &mut steps);
        for (number, (_, next)) in (0_u16..).zip(steps.drain(..)) {
            let next = match next {
                Ok(next) => next,
                Err(violated) => {
                    violations.entry(violated).or_insert((0, (from, number))).0 += 1;
                    continue;
                }
            };
            let new = u32::try_from(reached.len()).expect("states are counted in 32 bits");
            let to = *index.entry(fingerprint(&next)).or_insert(new);
            if to == new {
                assert!(reached.len() < limit, "more than {limit} states");
                reached.push((from, number));
                queue.push_back((to, next));
            }
            if to != from {
                backward.push((to, from));
            }
        }
    }
    let stuck = cannot_reach(&at_rest, &mut backward, reached.len());
    let violations = violations.into_iter().map(|(violated, (count, last))| {
        let mut way = way_to(&reached, last.0);
        way.push(last.1);
        (violated, (count, walk(model, &way)))
    });
    Report {
        states: reached.len(),
        violations: violations.collect(),
        stuck_trace: stuck
            .first()
            .map_or_else(Vec::new, |first| walk(model, &way_to(&reached, *first))),
        stuck: stuck.len(),
    }
}

/// The numbers of the steps that lead to a state.
fn way_to(reached: &[Reached], mut at: u32) -> Vec<u16> {
    let mut way = Vec::new();
    while at != 0 {
        let (from, number) = reached[at as usize];
        way.push(number);
        at = from;
    }
    way.reverse();
    way
}

/// Makes these steps again and tells what happens.
fn walk<M: Model>(model: &M, way: &[u16]) -> Vec<String> {
    let mut state = model.initial();
    let mut told = Vec::new();
    for number in way {
        let mut steps = Vec::new();
        model.steps(&state, &mut steps);
        let (what, next) = steps.swap_remove(usize::from(*number));
        told.push(what.to_string());
        if let Ok(next) = next {
            state = next;
        }
    }
    told
}

/// States from which none of `goals` can be reached, in the order in which they were found.
fn cannot_reach(goals: &[u32], backward: &mut [(u32, u32)], count: usize) -> Vec<u32> {
    backward.sort_unstable();
    let mut reaches = vec![false; count];
    let mut queue: Vec<u32> = goals.to_vec();
    for goal in goals {
        reaches[*goal as usize] = true;
    }
    while let Some(to) = queue.pop() {
        let start = backward.partition_point(|(edge, _)| *edge < to);
        for (_, from) in backward[start..].iter().take_while(|(edge, _)| *edge == to) {
            if !std::mem::replace(&mut reaches[*from as usize], true) {
                queue.push(*from);
            }
        }
    }
    (0..u32::try_from(count).expect("counted in 32 bits"))
        .filter(|state| !reaches[*state as usize])
        .collect()
}

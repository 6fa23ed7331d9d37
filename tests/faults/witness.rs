//! What the jobs themselves tell: each run of a main process or step is a line in a file on the host.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// Who tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Teller {
    Main,
    /// The init step of a job that has some.
    Step,
}

impl Teller {
    pub const ALL: [Teller; 2] = [Teller::Main, Teller::Step];
}

impl fmt::Display for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Teller::Main => "main",
            Teller::Step => "step",
        })
    }
}

#[derive(Debug, Default)]
pub struct Witness {
    /// How often each ran, by execution and attempt.
    runs: HashMap<String, HashMap<(Teller, u32), usize>>,
}

impl Witness {
    pub fn read(directory: &Path) -> Witness {
        let text = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
        let mut witness = Witness::default();
        for line in text.lines() {
            let (teller, id, attempt) = parse(line).unwrap_or_else(|| panic!("a job says {line:?}"));
            *witness.runs.entry(id.to_owned()).or_default().entry((teller, attempt)).or_default() += 1;
        }
        witness
    }

    pub fn runs(&self, teller: Teller, id: &str, attempt: u32) -> usize {
        self.runs.get(id).and_then(|runs| runs.get(&(teller, attempt))).copied().unwrap_or_default()
    }

    pub fn runs_of_all_attempts(&self, teller: Teller, id: &str) -> usize {
        let runs = self.runs.get(id).into_iter().flatten();
        runs.filter(|((by, _), _)| *by == teller).map(|(_, runs)| runs).sum()
    }

    pub fn executions(&self) -> impl Iterator<Item = &str> {
        self.runs.keys().map(String::as_str)
    }
}

fn parse(line: &str) -> Option<(Teller, &str, u32)> {
    let mut words = line.split(' ');
    let (teller, id, attempt) = (words.next()?, words.next()?, words.next()?);
    let teller = Teller::ALL.into_iter().find(|known| known.to_string() == teller)?;
    attempt.parse().ok().filter(|_| words.next().is_none()).map(|attempt| (teller, id, attempt))
}

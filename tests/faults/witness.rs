//! What the jobs themselves tell: each run of a main process or step is a line in a file on the host.

use std::collections::HashMap;
use std::path::Path;

#[derive(Debug, Default)]
pub struct Witness {
    /// How often each main process ran, by execution and attempt.
    mains: HashMap<(String, u32), usize>,
}

impl Witness {
    pub fn read(directory: &Path) -> Witness {
        let text = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
        let mut witness = Witness::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["main", id, attempt] = *words {
                let attempt = attempt.parse().unwrap_or_else(|_| panic!("a job says {line:?}"));
                *witness.mains.entry((id.to_owned(), attempt)).or_default() += 1;
            }
        }
        witness
    }

    pub fn runs(&self, id: &str, attempt: u32) -> usize {
        self.mains.get(&(id.to_owned(), attempt)).copied().unwrap_or_default()
    }

    pub fn runs_of_all_attempts(&self, id: &str) -> usize {
        self.mains.iter().filter(|((of, _), _)| of == id).map(|(_, runs)| runs).sum()
    }

    pub fn executions(&self) -> impl Iterator<Item = &str> {
        self.mains.keys().map(|(id, _)| id.as_str())
    }
}

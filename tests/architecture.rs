//! The shape of the crate: who may import whom, where `unsafe` and async code may stand, how long a
//! file may be. `src/lib.rs` and the README describe it; this holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each top-level module may import of the crate. A module that is missing here, or here and
/// missing in `src`, fails the test.
const IMPORTS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["causes", "config", "engine", "exec", "log", "outcome", "quote", "spec", "state_dir", "sys"]),
    // What a started program turns out to be: it knows every role.
    ("roles", &["causes", "engine", "exec", "id", "image", "remove_tree", "runtime", "state_dir", "step", "sys"]),
    ("testing", &["engine", "sys"]),
    ("exec", &["causes", "engine", "id", "log", "outcome", "quote", "record", "spec", "state_dir", "sys"]),
    (
        "engine",
        &[
            "bundle",
            "causes",
            "id",
            "image",
            "log",
            "outcome",
            "plan",
            "record",
            "remove_tree",
            "runtime",
            "seccomp",
            "spec",
            "state_dir",
            "step",
            "sys",
            "user",
        ],
    ),
    // Values of the configuration file are written as in specs.
    ("config", &["spec"]),
    ("bundle", &["plan", "spec", "step"]),
    ("runtime", &["id", "log", "outcome", "plan", "remove_tree", "state_dir", "step", "sys", "user"]),
    // The unpacker runs under a filter of its own.
    ("image", &["causes", "naming", "plan", "remove_tree", "seccomp", "state_dir", "sys"]),
    ("record", &["outcome", "state_dir", "sys"]),
    ("remove_tree", &["plan", "sys"]),
    ("log", &["state_dir", "sys"]),
    ("seccomp", &["sys"]),
    ("state_dir", &["id", "sys"]),
    ("step", &["sys"]),
    ("user", &["plan"]),
    // User namespaces map the ids that a plan names.
    ("sys", &["plan"]),
    ("causes", &[]),
    ("id", &[]),
    ("outcome", &[]),
    // How waits grow and what a failed step means is data of the spec that a plan carries on.
    ("plan", &["spec"]),
    // The name of an image in a spec is one that `image` can read.
    ("spec", &["naming", "quote"]),
    ("naming", &["quote"]),
    ("quote", &[]),
];

/// Crates that a part must not touch, by path prefix: the roles with one thread know no async code,
/// no network and no database; what plans and describes does no I/O of that kind either.
const FENCES: &[(&str, &[&str])] = &[
    ("runtime/", &["tokio", "rusqlite", "reqwest", "oci_distribution"]),
    ("bundle/", &["tokio", "rusqlite", "reqwest", "libcontainer"]),
    ("spec/", &["tokio", "rusqlite", "reqwest", "libcontainer"]),
    ("step/", &["rusqlite", "libcontainer", "oci_distribution"]),
    ("seccomp/", &["tokio", "rusqlite", "reqwest", "libcontainer"]),
    ("log/", &["rusqlite", "reqwest", "libcontainer"]),
    ("image/", &["rusqlite", "libcontainer"]),
    ("record/", &["tokio", "reqwest", "libcontainer"]),
    ("engine/", &["libcontainer", "rusqlite"]),
    // Everything that a mock needs is in memory.
    ("engine/mock/", &["nix", "state_dir", "sys", "fs"]),
    ("exec/", &["libcontainer", "rusqlite", "oci_distribution"]),
    ("roles.rs", &["libcontainer", "rusqlite", "oci_distribution", "reqwest"]),
    ("cli/", &["libcontainer", "rusqlite"]),
    ("outcome.rs", &["tokio", "rusqlite", "reqwest", "libcontainer"]),
    ("plan.rs", &["tokio", "rusqlite", "reqwest", "libcontainer"]),
    ("user.rs", &["tokio", "rusqlite", "reqwest", "libcontainer"]),
];

/// Lines of code (without blank lines and comments) that a file may have.
const LONGEST: usize = 400;

/// Longer files, each with its reason.
const LONGER: &[(&str, usize, &str)] = &[("seccomp/profile.rs", 1000, "a table of system calls")];

/// Where a thread may sleep, each with its reason.
const SLEEPS: &[(&str, &str)] = &[
    ("cli/logs.rs", "an execution that waits has no log yet to watch"),
    ("image/registry/retry.rs", "a registry that is busy is asked again later"),
    ("step/wait.rs", "a host that is not ready yet is asked again later"),
    ("exec/cancel.rs", "a supervisor's first state file is no event"),
    ("exec/changes.rs", "a commit is seen a moment after the write that is heard; the kernel may have no watch left"),
    ("exec/drive.rs", "a cached image is not worth a watch; the record and the runtime are tried again later"),
    ("exec/forget.rs", "a lock on a range of a file that becomes free is no event"),
    ("exec/logs.rs", "a supervisor begins its log without a word"),
    ("exec/query.rs", "backoffs and queue deadlines end by themselves"),
    ("exec/queue.rs", "backoffs and queue deadlines end by themselves"),
    ("exec/settler.rs", "a record that cannot be used is tried again later"),
    ("engine/mock/container.rs", "containers that are none take as long as their script says"),
    ("engine/mock/script.rs", "containers that are none take as long as their script says"),
    ("runtime/cgroup/mod.rs", "the kernel tells nobody when a dead group has become removable"),
];

/// Files with tests marked `ignore` because other tests run them, as processes of their own.
const CHILD_TESTS: &[&str] = &[
    "log/tests/concurrent.rs",
    "log/tests/disk.rs",
    "tests/executor/processes.rs",
    "tests/image/config.rs",
    "tests/image/hostile/mod.rs",
    "tests/image/interrupt.rs",
    "tests/image/registry.rs",
];

#[derive(Debug)]
struct Source {
    /// Relative to `src`; below `tests` it begins with `tests/`.
    path: String,
    /// Without comments and the contents of string literals.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), code: code_of(text) }
    }

    /// The top-level module that the file belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn lines_of_code(&self) -> usize {
        self.code.lines().filter(|line| !line.trim().is_empty()).count()
    }
}

/// The text without comments, and with the contents of string and character literals blanked, so
/// that only code is searched. Line ends stay where they are.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let skip_to = |code: &mut String, from: usize, to: usize| {
        code.extend(bytes[from..to].iter().filter(|byte| **byte == b'\n').map(|_| '\n'));
    };
    while at < bytes.len() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            at + rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment_end(bytes, at)
        } else if let Some(hashes) = raw_string_hashes(bytes, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = at + rest.find('"').map_or(0, |quote| quote + 1);
            text[body..].find(&close).map_or(bytes.len(), |found| body + found + close.len())
        } else if bytes[at] == b'"' {
            literal_end(bytes, at, b'"')
        } else if bytes[at] == b'\'' && is_character(bytes, at) {
            literal_end(bytes, at, b'\'')
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            code.push_str(&rest[..length]);
            at += length;
            continue;
        };
        skip_to(&mut code, at, end);
        at = end;
    }
    code
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

/// The number of `#` when a raw string begins here.
fn raw_string_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map_or(b' ', |index| bytes[index]);
    if bytes[at] != b'r' || before.is_ascii_alphanumeric() && before != b'b' || before == b'_' {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn literal_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// A quote that begins a character and not a lifetime.
fn is_character(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at + 1) {
        Some(b'\\') => true,
        Some(byte) if *byte < 0x80 => bytes.get(at + 2) == Some(&b'\''),
        Some(_) => true,
        None => false,
    }
}

/// `word` as a whole identifier.
fn has_word(code: &str, word: &str) -> bool {
    let part = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

/// The top-level modules that `source` names through `crate::` or, in the binary, `coracle::`.
fn imports(source: &Source) -> BTreeSet<String> {
    let prefix = if source.module() == "main" { "coracle::" } else { "crate::" };
    let mut found = BTreeSet::new();
    for (at, _) in source.code.match_indices(prefix) {
        let before = source.code[..at].chars().next_back();
        // `$crate::` and `$crate`-like paths count; `other_crate::` does not.
        if before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
            continue;
        }
        let rest = &source.code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group_heads(group));
        } else {
            found.insert(identifier(rest).to_owned());
        }
    }
    found
}

/// The first identifiers of each entry of `a::{b, c}, d}`.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut expects) = (0, Vec::new(), true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            character if expects && depth == 0 && !character.is_whitespace() => {
                heads.push(identifier(&group[at..]).to_owned());
                expects = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len());
    &text[..end]
}

/// Everything that is wrong with these files, in words.
fn findings(sources: &[Source]) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut found = Vec::new();
    for source in sources {
        let (path, module, code) = (&source.path, source.module(), source.code.as_str());
        match allowed.get(module) {
            None if module != "lib" => found.push(format!("{path}: module {module} has no entry in IMPORTS")),
            None => {}
            Some(allowed) => {
                for import in imports(source) {
                    let is_module = allowed.contains(&import.as_str()) || import == module;
                    let known = IMPORTS.iter().any(|(name, _)| *name == import);
                    if !is_module && known {
                        found.push(format!("{path}: {module} must not import {import}"));
                    }
                }
            }
        }
        if module != "sys" && has_word(&code.replace("unsafe_code", ""), "unsafe") {
            found.push(format!("{path}: unsafe outside sys"));
        }
        for (prefix, crates) in FENCES.iter().filter(|(prefix, _)| path.starts_with(prefix)) {
            for name in crates.iter().filter(|name| has_word(code, name)) {
                found.push(format!("{path}: {prefix} must not use {name}"));
            }
        }
        let longest = LONGER.iter().find(|(name, ..)| name == path).map_or(LONGEST, |(_, lines, _)| *lines);
        if source.lines_of_code() > longest {
            found.push(format!("{path}: {} lines of code, at most {longest}", source.lines_of_code()));
        }
        found.extend(unfinished(source));
    }
    found
}

/// What no file of `src` or `tests` may hold.
fn unfinished(source: &Source) -> Vec<String> {
    let (path, code) = (&source.path, source.code.as_str());
    let mut found = Vec::new();
    for word in ["todo!", "unimplemented!", "dbg!"] {
        if code.contains(word) {
            found.push(format!("{path}: {word}"));
        }
    }
    if code.contains("#[ignore") && !CHILD_TESTS.contains(&path.as_str()) {
        found.push(format!("{path}: a test that does not run"));
    }
    let may_sleep = SLEEPS.iter().any(|(name, _)| name == path);
    if !may_sleep && (code.contains("thread::sleep") || code.contains("time::sleep")) {
        found.push(format!("{path}: sleeps; wait for the event instead"));
    }
    found
}

fn read(directory: &Path) -> Vec<Source> {
    fn walk(base: &Path, directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a source directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(base, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(base).expect("below the base").to_owned());
            }
        }
    }
    let mut paths = Vec::new();
    walk(directory, directory, &mut paths);
    paths.sort();
    let text = |path: &PathBuf| fs::read_to_string(directory.join(path)).expect("a source file");
    paths.iter().map(|path| Source::new(path.to_str().expect("plain names"), &text(path))).collect()
}

fn sources() -> Vec<Source> {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn tests() -> Vec<Source> {
    let mut sources = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    sources.iter_mut().for_each(|source| source.path.insert_str(0, "tests/"));
    sources
}

#[test]
fn the_sources_keep_to_the_architecture() {
    let sources = sources();
    let found = findings(&sources);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let modules: BTreeSet<&str> = sources.iter().map(Source::module).collect();
    let stale: Vec<_> = IMPORTS.iter().filter(|(name, _)| !modules.contains(name) && *name != "init").collect();
    assert!(stale.is_empty(), "IMPORTS names modules that do not exist: {stale:?}");
}

#[test]
fn the_tests_are_finished_and_do_not_sleep() {
    let found: Vec<String> = tests().iter().flat_map(unfinished).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let long: Vec<String> = tests()
        .iter()
        .filter(|source| source.lines_of_code() > LONGEST)
        .map(|source| format!("{}: {} lines of code", source.path, source.lines_of_code()))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn exceptions_are_for_files_that_exist() {
    let sources: Vec<Source> = sources().into_iter().chain(tests()).collect();
    let names = LONGER.iter().map(|(name, ..)| name).chain(SLEEPS.iter().map(|(name, _)| name)).chain(CHILD_TESTS);
    let stale: Vec<_> = names.filter(|name| !sources.iter().any(|source| source.path == **name)).collect();
    assert!(stale.is_empty(), "{stale:?}");
}

#[test]
fn the_modules_form_no_circle() {
    fn reaches(from: &str, to: &str) -> bool {
        let direct = IMPORTS.iter().find(|(name, _)| *name == from).map_or(&[] as &[&str], |(_, imports)| imports);
        direct.iter().any(|next| *next == to || reaches(next, to))
    }
    for (name, _) in IMPORTS {
        assert!(!reaches(name, name), "{name} imports itself on a detour");
    }
}

// The scanner itself.

fn finds(path: &str, text: &str, expected: &str) {
    let found = findings(&[Source::new(path, text)]);
    assert!(found.iter().any(|finding| finding.contains(expected)), "no {expected:?} in {found:?}");
}

#[test]
fn the_scanner_finds_each_kind_of_violation() {
    finds("spec/job.rs", "use crate::image::Reference;", "spec must not import image");
    finds("log/ring.rs", "use crate::{\n    sys,\n    runtime::{a, spec},\n};", "log must not import runtime");
    finds("record/store.rs", "fn f() { crate::exec::run() }", "record must not import exec");
    finds("main.rs", "fn main() { coracle::exec::run() }", "main must not import exec");
    finds("new_module/mod.rs", "", "no entry in IMPORTS");
    finds("image/tar.rs", "fn f() { unsafe { g() } }", "unsafe outside sys");
    finds("runtime/supervisor.rs", "use tokio::sync::Mutex;", "must not use tokio");
    finds("runtime/supervisor.rs", "fn f() { rusqlite::open() }", "must not use rusqlite");
    finds("exec/mod.rs", &"let x = 1;\n".repeat(LONGEST + 1), "lines of code");
    finds("exec/mod.rs", "fn f() { todo!() }", "todo!");
    finds("exec/mod.rs", "fn f() { std::thread::sleep(d) }", "sleeps");
    finds("exec/mod.rs", "#[ignore = \"slow\"]\nfn f() {}", "does not run");
}

#[test]
fn the_scanner_looks_at_code_only() {
    let text = r##"
        //! `crate::exec` is not imported, and unsafe is only a word.
        /* tokio /* nested */ rusqlite */
        #![deny(unsafe_code)]
        use crate::sys::file;
        const A: &str = "unsafe crate::exec tokio \" todo!()";
        const B: &str = r#"thread::sleep "quoted" unsafe"#;
        const C: [char; 3] = ['"', '\'', 'x'];
        fn f<'a>(x: &'a str) -> &'a str { my_crate::exec(x) }
    "##;
    assert_eq!(findings(&[Source::new("log/ring.rs", text)]), Vec::<String>::new());
}

#[test]
fn only_code_counts_for_the_length_of_a_file() {
    assert_eq!(Source::new("a.rs", "// one\n\n/* two\n three */\nlet x = \"a\nb\";\n").lines_of_code(), 2);
}

#[test]
fn groups_are_read_by_their_first_names() {
    assert_eq!(group_heads("a::{b, c}, d, e::f}; use g"), ["a", "d", "e"]);
}

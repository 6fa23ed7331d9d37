//! What an unpacker could do if a layer took it over.

use crate::common::host::Process;
use crate::layout::{Compression, Layer, LayoutBuilder};
use crate::store::{chain, homes, resolve_in};
use crate::tarball::Tar;
use coracle::image::unpack;
use coracle::image::{ImageName, PullPolicy};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn an_unpacker_has_nothing_but_its_directory_and_its_streams() {
    for home in homes() {
        let directory = home.state.staging().join("layer");
        fs::create_dir(&directory).unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_coracle"));
        let limit = 5 << 20;
        let mut child = unpack::spawn(binary, &directory, home.mappings.as_ref(), Some(limit)).unwrap();
        let pid = child.id().cast_signed();
        // More than the pipe holds: once all is written, some has been read.
        let tar = Tar::new().file("x", &vec![b'x'; 3 << 20]).bytes();
        child.stdin.as_mut().unwrap().write_all(&tar[..tar.len() - 2048]).unwrap();

        let process = format!("/proc/{pid}");
        let status = fields(&fs::read_to_string(format!("{process}/status")).unwrap(), ":");
        assert_eq!((status["Seccomp"].as_str(), status["NoNewPrivs"].as_str()), ("2", "1"));
        let effective = u64::from_str_radix(&status["CapEff"], 16).unwrap();
        // Those for owners, modes and attributes; root's for devices and overlayfs's attributes too.
        let (common, of_root) = (0x8000_001b, 0x0820_0000);
        assert_eq!(effective, if home.is_rootful() { common | of_root } else { common }, "{effective:x}");
        assert_eq!(
            (&status["CapInh"], &status["CapAmb"], &status["Threads"]),
            (&"0".repeat(16), &"0".repeat(16), &"1".into())
        );
        let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
        for (name, expected) in [
            ("Max core file size", "0"),
            ("Max data size", "67108864"),
            ("Max open files", "32"),
            ("Max file size", "5242880"),
            ("Max address space", "1073741824"),
        ] {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            let values: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
            assert_eq!(values, [expected; 2], "{line}");
        }
        if home.is_rootful() {
            // Only root may look at these.
            assert_eq!(fs::read_link(format!("{process}/root")).unwrap(), directory);
            assert_eq!(
                fs::read_dir(format!("{process}/fd"))
                    .unwrap()
                    .filter(|entry| {
                        let target = fs::read_link(entry.as_ref().unwrap().path()).unwrap();
                        !target.starts_with(&directory)
                            && !target.starts_with("/dev/null")
                            && !target.to_str().unwrap().starts_with("pipe:")
                    })
                    .count(),
                0
            );
        }
        drop(child.stdin.take());
        let watched = Process::open(pid).unwrap();
        assert!(watched.ends_within(Duration::from_secs(60)));
        child.wait().unwrap();
        coracle::remove_tree::remove_tree(binary, &directory, home.mappings.as_ref()).unwrap();
    }
}

fn fields(text: &str, separator: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn an_unpacker_that_is_killed_is_said_to_be() {
    for home in homes() {
        let mut layout = LayoutBuilder::new(&home.path("layout"));
        layout.image(&[Layer::new(Tar::new().file("x", b""), Compression::Gzip)]);
        let name = ImageName::parse(&format!("oci:{}", layout.path().display())).unwrap();
        for (signal, expected) in [("SYS", "killed by SIGSYS, for a system call"), ("SEGV", "killed by SIGSEGV")] {
            let binary = home.path(signal);
            // Written by another process: while one that forks has it open for writing, it cannot be executed.
            let script = format!("printf '#!/bin/sh\\nkill -{signal} $$\\n' >\"$0\" && chmod 755 \"$0\"");
            assert!(Command::new("/bin/sh").args(["-c", &script]).arg(&binary).status().unwrap().success());
            let store = home.store_with(&binary);
            let error = chain(&resolve_in(&store, &name, PullPolicy::IfNotPresent, None, None).unwrap_err());
            assert!(error.contains(expected), "{error}");
            home.assert_empty();
        }
    }
}

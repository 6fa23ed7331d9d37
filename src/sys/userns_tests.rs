use super::*;

fn names(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_owned()).collect()
}

#[test]
fn ranges_belong_to_a_user_by_name_or_number() {
    let table =
        b"root:1:2\nada:100000:65536\n1000:300000:10\nbob:5:5\n# comment\n\nada:7\nada:x:3\nada:9:0\nada:1:1:1\n";
    assert_eq!(ranges(table, 1000, &names(&["ada"])), [(100_000, 65536), (300_000, 10)]);
    assert_eq!(ranges(table, 5, &[]), []);
}

#[test]
fn passwd_gives_every_name_of_an_id() {
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/:\nlovelace:x:1000:100::/:\nbroken\n";
    assert_eq!(names_of(passwd, 1000), names(&["ada", "lovelace"]));
    assert_eq!(names_of(passwd, 7), names(&[]));
}

#[test]
fn mapping_starts_with_the_own_id_and_leaves_out_what_the_kernel_refuses() {
    let maps = mapping(1000, &[(100_000, 10), (100_005, 10), (u32::MAX, 1), (990, 20), (200_000, 5)]);
    let expected = [(0, 1000, 1), (1, 100_000, 10), (11, 200_000, 5)];
    let expected: Vec<IdMap> =
        expected.iter().map(|&(container, host, count)| IdMap { container, host, count }).collect();
    assert_eq!(maps, expected);
}

/// Runs `body` in a forked child and returns what it said.
fn in_child(body: impl FnOnce() -> String) -> String {
    let (mut reader, mut writer) = pipe().unwrap();
    // SAFETY: glibc makes its heap usable after fork; the child only runs `body`, which uses no lock
    // of another test's thread, and leaves by _exit.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Child => {
            drop(reader);
            let said = body();
            writer.write_all(said.as_bytes()).unwrap();
            // SAFETY: nothing of the test harness may run in this copy.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut said = String::new();
            reader.read_to_string(&mut said).unwrap();
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0), "{said}");
            said
        }
    }
}

fn words(path: &str) -> Vec<u32> {
    std::fs::read_to_string(path).unwrap().split_whitespace().map(|word| word.parse().unwrap()).collect()
}

fn numbers(maps: &[IdMap]) -> Vec<u32> {
    maps.iter().flat_map(|map| [map.container, map.host, map.count]).collect()
}

/// What `enter` must have done for these maps.
fn enter_and_look(maps: &IdMappings) -> String {
    in_child(|| {
        if let Err(error) = enter(maps, CloneFlags::CLONE_NEWNS) {
            return format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
        }
        let ids = (nix::unistd::getresuid().unwrap(), nix::unistd::getresgid().unwrap());
        let zero = (Uid::from_raw(0), Gid::from_raw(0));
        assert!(ids.0.real == zero.0 && ids.0.effective == zero.0 && ids.0.saved == zero.0);
        assert!(ids.1.real == zero.1 && ids.1.effective == zero.1 && ids.1.saved == zero.1);
        assert_eq!(words("/proc/self/uid_map"), numbers(&maps.uids));
        assert_eq!(words("/proc/self/gid_map"), numbers(&maps.gids));
        if waitpid(None, None) == Err(Errno::ECHILD) { "entered, no child left".to_owned() } else { "child".to_owned() }
    })
}

/// Needs user namespaces for the user that runs the tests.
#[test]
fn single_mapping_is_entered_as_root() {
    let own = |id| vec![IdMap { container: 0, host: id, count: 1 }];
    let maps = IdMappings { uids: own(nix::unistd::geteuid().as_raw()), gids: own(nix::unistd::getegid().as_raw()) };
    assert_eq!(enter_and_look(&maps), "entered, no child left");
}

/// Needs newuidmap, newgidmap and subordinate ids for the user that runs the tests.
#[test]
fn subordinate_ids_are_mapped_from_outside() {
    let (maps, note) = host_mappings().unwrap();
    if let Some(note) = note {
        assert!(
            std::env::var_os("CI").is_none() || nix::unistd::geteuid().is_root(),
            "this test needs subordinate ids: {note}"
        );
        eprintln!("skipped: {note}");
        return;
    }
    assert_eq!(enter_and_look(&maps), "entered, no child left");
}

/// Needs newuidmap and newgidmap.
#[test]
fn ids_that_are_not_ours_are_refused_with_the_words_of_the_tool() {
    if find_tool("newuidmap").is_none() {
        assert!(std::env::var_os("CI").is_none(), "this test needs newuidmap");
        eprintln!("skipped: newuidmap is not installed");
        return;
    }
    let foreign = vec![IdMap { container: 0, host: 4_000_000_000, count: 2 }];
    let said = enter_and_look(&IdMappings { uids: foreign.clone(), gids: foreign });
    assert!(said.contains("newuidmap") && said.contains("exit code 1") && said.contains("not allowed"), "{said}");
}

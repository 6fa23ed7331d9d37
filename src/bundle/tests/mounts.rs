//! Properties of the mounts and of what is hidden, for every kind of caller.

use super::*;
use oci_spec::runtime::{Mount, Spec};

const STORAGE: &str = r#"
storage:
  - {type: bind, source: /, target: /host}
  - {type: bind, source: /srv, target: /host/a/b, readonly: true}
  - {type: named, name: cache, target: /a/b/c}
  - {type: anonymous, target: /a}
  - {type: tmpfs, target: /a/b}
"#;

fn hosts() -> [HostFacts; 3] {
    [root(), user(65_537), user(1)]
}

fn mounts(spec: &Spec) -> &[Mount] {
    spec.mounts().as_deref().unwrap()
}

fn options(mount: &Mount) -> Vec<&str> {
    mount.options().iter().flatten().map(String::as_str).collect()
}

fn mount_at<'a>(bundle: &'a Bundle, target: &str) -> &'a Mount {
    let all = mounts(&bundle.main.spec);
    let mut found = all.iter().filter(|mount| mount.destination().to_str() == Some(target));
    let first = found.next().unwrap_or_else(|| panic!("nothing at {target}"));
    assert!(found.next().is_none(), "two mounts at {target}");
    first
}

#[test]
fn nothing_propagates_and_nothing_of_the_host_brings_devices_or_set_id_programs() {
    for network in ["host", "none"] {
        for host in hosts() {
            let bundle = made(&format!("{STORAGE}network_mode: {network}"), &host);
            for mount in mounts(&bundle.main.spec) {
                let options = options(mount);
                let has = |option: &str| options.contains(&option);
                assert!(!options.iter().any(|option| option.ends_with("shared") || option.ends_with("slave")));
                assert!(has("nosuid") || has("rnosuid"), "{mount:?}");
                // /dev and /dev/pts are there for devices.
                let for_devices = ["/dev", "/dev/pts"].iter().any(|path| mount.destination().to_str() == Some(path));
                assert!(for_devices || has("nodev") || has("rnodev"), "{mount:?}");
                if has("rbind") {
                    assert!(has("rprivate") && has("rnosuid") && has("rnodev"), "not for all below it: {mount:?}");
                }
            }
        }
    }
}

#[test]
fn read_only_holds_for_everything_below_a_source() {
    let bundle = made(STORAGE, &root());
    assert!(options(mount_at(&bundle, "/host/a/b")).contains(&"rro"));
    assert!(!options(mount_at(&bundle, "/host")).contains(&"rro"));
}

#[test]
fn a_mount_comes_after_the_one_that_it_lies_in() {
    let bundle = made(STORAGE, &root());
    let all = mounts(&bundle.main.spec);
    for (index, mount) in all.iter().enumerate() {
        for later in &all[index + 1..] {
            assert!(!mount.destination().starts_with(later.destination()), "{later:?} hides {mount:?}");
        }
    }
}

#[test]
fn volumes_are_mounted_from_where_they_are_filled() {
    let bundle = made(STORAGE, &user(65_537));
    assert_eq!(bundle.volumes.len(), 2);
    for volume in &bundle.volumes {
        assert_eq!(mount_at(&bundle, &volume.target).source().as_ref(), Some(&volume.source));
    }
    assert_eq!(mount_at(&bundle, "/a/b/c").source().as_deref(), Some("/state/volumes/cache".as_ref()));
}

#[test]
fn sysfs_is_the_hosts_only_where_no_own_one_can_be_mounted() {
    let kind = |host: &HostFacts, network: &str| {
        let bundle = made(&format!("network_mode: {network}"), host);
        let mount = mount_at(&bundle, "/sys");
        let read_only = options(mount).iter().any(|option| ["ro", "rro"].contains(option));
        assert!(read_only, "{mount:?}");
        let masked = bundle.main.spec.linux().as_ref().unwrap().masked_paths().clone().unwrap();
        assert_eq!(masked.iter().any(|path| path == "/sys/fs/cgroup"), mount.typ().as_deref() == Some("bind"));
        mount.typ().clone().unwrap()
    };
    assert_eq!(kind(&root(), "host"), "sysfs");
    assert_eq!(kind(&root(), "none"), "sysfs");
    assert_eq!(kind(&user(65_537), "host"), "bind");
    assert_eq!(kind(&user(65_537), "none"), "sysfs");
}

/// A group that has no id on the host cannot own terminals.
#[test]
fn terminals_belong_to_their_group_where_it_exists() {
    for (host, expected) in hosts().iter().zip([true, true, false]) {
        assert_eq!(options(mount_at(&made("", host), "/dev/pts")).contains(&"gid=5"), expected);
    }
}

#[test]
fn generated_files_give_way_to_the_jobs_own_mounts() {
    let fields = "storage: [{type: bind, source: /srv/hosts, target: /etc/hosts}]";
    let bundle = made(fields, &root());
    assert_eq!(mount_at(&bundle, "/etc/hosts").source().as_deref(), Some("/srv/hosts".as_ref()));
    assert!(mount_at(&bundle, "/etc/resolv.conf").source().as_ref().unwrap().starts_with("/state/executions/ID/files"));
}

#[test]
fn generated_files_are_as_read_only_as_the_root() {
    for (fields, expected) in [("", false), ("read_only_root_fs: true", true)] {
        let bundle = made(fields, &root());
        for target in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
            assert_eq!(options(mount_at(&bundle, target)).contains(&"ro"), expected, "{target}");
        }
        assert_eq!(bundle.main.spec.root().as_ref().unwrap().readonly(), Some(expected));
    }
}

#[test]
fn names_and_servers_of_the_job_are_in_the_generated_files() {
    let content = |fields: &str, target: &str| {
        let bundle = made(fields, &root());
        bundle.files.into_iter().find(|file| file.target == target).unwrap().content
    };
    let fields = "dns: [192.0.2.1]\nextra_hosts: [\"db:192.0.2.7\"]\nhostname: tub";
    assert_eq!(content(fields, "/etc/resolv.conf"), "nameserver 192.0.2.1\n");
    assert_eq!(content(fields, "/etc/hostname"), "tub\n");
    let hosts = content(fields, "/etc/hosts");
    let lines: Vec<&str> = hosts.lines().collect();
    assert!(lines.contains(&"192.0.2.10\tfilehost"), "a last line without its end is kept whole: {hosts}");
    assert!(lines.contains(&"192.0.2.7\tdb") && lines.contains(&"127.0.0.1\ttub"), "{hosts}");
    assert_eq!(content("", "/etc/resolv.conf"), root().resolv_conf);
    let alone = content("network_mode: none", "/etc/hosts");
    assert!(!alone.contains("filehost"), "{alone}");
}

/// The first line counts for a resolver: a name that the job gives beats the host's.
#[test]
fn extra_hosts_come_before_the_hosts_own() {
    let bundle = made("extra_hosts: [\"filehost:192.0.2.99\"]", &root());
    let hosts = &bundle.files.iter().find(|file| file.target == "/etc/hosts").unwrap().content;
    let first = hosts.lines().find(|line| line.ends_with("\tfilehost"));
    assert_eq!(first, Some("192.0.2.99\tfilehost"), "{hosts}");
}

#[test]
fn confinement_is_the_same_for_every_caller() {
    for host in hosts() {
        for process in [made("", &host).main] {
            let (spec, linux) = (&process.spec, process.spec.linux().as_ref().unwrap());
            let specified = spec.process().as_ref().unwrap();
            assert_eq!(specified.no_new_privileges(), Some(true));
            assert!(process.seccomp_filter.is_some() && process.init);
            assert!(linux.seccomp().is_none() && linux.resources().is_none(), "both are ours to do");
            let kinds: BTreeSet<String> =
                linux.namespaces().iter().flatten().map(|namespace| namespace.typ().to_string()).collect();
            assert_eq!(kinds, ["cgroup", "ipc", "mnt", "pid", "uts"].map(str::to_owned).into());
            assert!(linux.cgroups_path().as_ref().unwrap().is_absolute());
            assert!(linux.readonly_paths().as_ref().unwrap().iter().any(|path| path == "/proc/sys"));
            assert!(mounts(spec).iter().all(|mount| mount.typ().as_deref() != Some("cgroup")));
            // libcontainer leaves a set that is not given as it finds it.
            for sets in [specified.capabilities(), &process.user_capabilities] {
                let sets = sets.as_ref().unwrap();
                for set in [sets.bounding(), sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()] {
                    assert!(set.is_some());
                }
            }
        }
    }
}

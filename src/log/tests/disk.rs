//! A disk that is really full: a tmpfs of a few pages in a mount namespace of its own.

use super::*;
use std::process::Command;

const CHILD_DIRECTORY: &str = "CORACLE_TEST_FULL_DISK";

#[test]
fn a_full_disk_costs_output_but_not_the_writer() {
    let directory = temporary();
    let in_namespace = |script: &str, arguments: &[std::ffi::OsString]| {
        // Root has its own rights; anyone else gets them in a user namespace.
        let mut command = Command::new("unshare");
        command.arg("--mount").args((!nix::unistd::geteuid().is_root()).then_some("--map-root-user"));
        command.args(["sh", "-ec", script, "sh"]).arg(directory.path()).args(arguments);
        command.env(CHILD_DIRECTORY, directory.path()).output()
    };
    let mount = r#"mount -t tmpfs -o size=256k none "$1""#;
    match in_namespace(mount, &[]) {
        Ok(probe) if probe.status.success() => {}
        problem => {
            let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!in_ci, "no tmpfs in a mount namespace: {problem:?}");
            eprintln!("skipped: no tmpfs in a mount namespace: {problem:?}");
            return;
        }
    }
    let child = child_command("log::tests::disk::child_fills_a_disk");
    let run = in_namespace(&format!(r#"{mount}; shift; exec "$@""#), &child).expect("unshare runs");
    let stdout = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && stdout.contains("1 passed"), "{stdout}{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
#[ignore = "the child of a_full_disk_costs_output_but_not_the_writer"]
fn child_fills_a_disk() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY).map(PathBuf::from) else { return };
    let path = directory.join("log.ring");
    let filler = directory.join("filler");
    std::fs::write(&filler, vec![1; 128 << 10]).expect("there is room for the filler");
    let mut writer = create(&path, 1 << 20);
    let mut total = 0;
    let mut append = |writer: &mut RingWriter, at: i64| {
        writer.append(LogStream::Stdout, Some(0), time(at), &output(total, 5000));
        total += 5000;
    };
    while writer.counts().lost_bytes == 0 {
        append(&mut writer, 0);
    }
    let before = writer.counts();
    assert!(before.total_bytes > 50_000, "the disk was full at once: {before:?}");
    assert_eq!(writer.write_error().and_then(std::io::Error::raw_os_error), Some(libc::ENOSPC));
    let (given, progress) = read_all(&path);
    assert_eq!(given.concat_bytes(), output(0, (before.total_bytes - 5000) as usize));
    assert_eq!((progress.missed_bytes, progress.counts), (5000, before));

    append(&mut writer, 1);
    std::fs::remove_file(&filler).expect("removed");
    append(&mut writer, 1_000_000_000);
    let counts = writer.close(time(1_000_000_001));
    assert_eq!((counts.lost_bytes, counts.lost_records), (10_000, 2));
    let (given, progress) = read_all(&path);
    let last = given.last().expect("there are records");
    assert_eq!(last.bytes, output(counts.total_bytes - 5000, 5000));
    assert_eq!((last.missed_before, progress.missed_bytes, progress.ended), (10_000, 10_000, true));
}

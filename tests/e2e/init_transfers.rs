//! `init.s3_pull` and `init.s3_push`: objects of a real S3 server become files of the job, and files objects.

use super::init_stops::until_step;
use super::lifecycle::with_deadline;
use crate::common::cli::Coracle;
use crate::common::host::{Feature, accept, needs};
use crate::pages::{Pages, answer};
use crate::s3_server::{BUCKET, KEY_ID, SECRET, Server};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

fn step(uses: &str, endpoint: &str, key: &str, path: &str, fields: &str) -> String {
    let (id, place) = if uses == "init.s3_pull" { ("pull", "destination") } else { ("push", "source") };
    format!(
        "  - {{ id: {id}, uses: {uses}, {fields} with: {{ bucket: {BUCKET}, key: {key:?}, endpoint: {endpoint:?}, {place}: {path:?}, \
         env: {{ AWS_ACCESS_KEY_ID: {KEY_ID}, AWS_SECRET_ACCESS_KEY: {SECRET:?} }} }} }}\n"
    )
}

fn pull(endpoint: &str, path: &str) -> String {
    step("init.s3_pull", endpoint, "in/put.txt", path, "")
}

fn server_with(content: &[u8]) -> Server {
    let server = Server::start();
    std::fs::create_dir(server.path("in")).expect("an empty bucket");
    std::fs::write(server.path("in/put.txt"), content).expect("the bucket takes an object");
    server
}

#[test]
fn an_object_becomes_a_file_of_the_jobs_user_and_the_other_way_round() {
    if !needs(Feature::S3) {
        return;
    }
    let server = server_with(b"content\n");
    let coracle = Coracle::new();
    let steps = pull(&server.endpoint, "/new/directory/file")
        + "  - { uses: init.run, with: { command: [append, /new/directory/file, more] } }\n"
        + &step("init.s3_push", &server.endpoint, "out/put.txt", "/new/directory/file", "");
    let spec = coracle.job(&format!("init:\n  steps:\n{steps}command: [stat, /new/directory/file, /new/directory]"));
    let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert!(finished.stdout().contains("644") && finished.stdout().contains("755"), "{finished}");
    assert_eq!(std::fs::read(server.path("out/put.txt")).expect("the object"), b"content\nmore\n");
    assert!(!finished.stderr().contains(SECRET), "{finished}");
}

#[test]
fn a_job_without_network_has_its_files_moved_all_the_same() {
    if !needs(Feature::S3) {
        return;
    }
    let server = server_with(b"content\n");
    let coracle = Coracle::new();
    let spec = coracle.job(&format!(
        "network_mode: none\nread_only_root_fs: true\nstorage:\n  - {{ type: anonymous, target: /data }}\ninit:\n  steps:\n{}command: [cat, /data/file]",
        pull(&server.endpoint, "/data/file")
    ));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("content\n");
}

#[test]
fn a_file_may_have_the_longest_name() {
    if !needs(Feature::S3) {
        return;
    }
    let server = server_with(b"content\n");
    let coracle = Coracle::new();
    let path = format!("/data/{}", "x".repeat(255));
    let spec = coracle.job(&format!("init:\n  steps:\n{}command: [cat, {path}]", pull(&server.endpoint, &path)));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("content\n");
}

#[test]
fn an_object_may_be_kept_in_memory() {
    if !needs(Feature::S3) {
        return;
    }
    let server = server_with(b"content\n");
    let coracle = Coracle::new();
    for (path, storage) in
        [("/secrets/token", "storage:\n- { type: tmpfs, target: /secrets }\n"), ("/dev/shm/token", "")]
    {
        let steps = pull(&server.endpoint, path);
        let spec = coracle.job(&format!("{storage}init:\n  steps:\n{steps}command: [cat, {path}]"));
        coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("content\n");
    }
}

#[test]
fn large_objects_come_and_go_whole() {
    if !needs(Feature::S3) {
        return;
    }
    let content: Vec<u8> =
        (0..20_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let server = server_with(&content);
    let coracle = Coracle::new();
    let steps = pull(&server.endpoint, "/file") + &step("init.s3_push", &server.endpoint, "copy", "/file", "");
    let spec = coracle.job(&format!("init:\n  steps:\n{steps}command: [\"true\"]"));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0);
    assert!(std::fs::read(server.path("copy")).expect("the object") == content);
}

#[test]
fn either_side_tells_why_it_failed() {
    if !needs(Feature::S3) {
        return;
    }
    let server = server_with(b"content\n");
    let push = |path: &str| step("init.s3_push", &server.endpoint, "out", path, "");
    let too_long = format!("/{}", "x".repeat(256));
    let cannot_create = format!("failed to create {too_long}");
    let cases = [
        (step("init.s3_pull", &server.endpoint, "none", "/file", ""), "none"),
        (pull(&server.endpoint, "/bin"), "failed to replace /bin: it is not a regular file"),
        (pull(&server.endpoint, "/etc/hostname/new/file"), "failed to create the directory /etc/hostname/new"),
        (pull(&server.endpoint, &too_long), &cannot_create),
        (push("/no/such/file"), "failed to open /no/such/file: No such file or directory"),
        (push("/bin"), "failed to read /bin: it is not a regular file"),
    ];
    for (steps, cause) in cases {
        let coracle = Coracle::new();
        let spec = coracle.job(&format!("init:\n  steps:\n{steps}command: [echo, main]"));
        coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(125, &["init step \"pu", "\" failed", cause]);
        let record = coracle.only_execution();
        let log = coracle.container(record["id"].as_str().expect("an id")).join("log.ring");
        let log = String::from_utf8_lossy(&std::fs::read(log).expect("a log")).into_owned();
        assert!(log.contains(cause), "the log tells it as well: {log}");
        assert!(!record.to_string().contains("its last line"), "{record:#}");
    }
    assert!(!server.path("out").exists(), "nothing half-made is an object");
}

#[test]
fn what_did_not_come_whole_does_not_appear() {
    // Announces more than it sends.
    let pages = Pages::start(|_, _| {
        let whole = answer(200, &["ETag: \"x\"", "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"], &[b'x'; 100_000]);
        whole[..50_000].to_vec()
    });
    let endpoint = format!("http://{}", pages.address);
    let coracle = Coracle::new();
    let steps = step("init.s3_pull", &endpoint, "file", "/data/file", "on_failure: continue, timeout: 2s,");
    let spec = coracle.job(&format!("init:\n  steps:\n{steps}command: [ls, /data]"));
    coracle.run(["run".as_ref(), spec.as_os_str()]).expect_code(0).expect_stdout("");
}

#[test]
fn cancel_and_deadline_act_at_once() {
    // Takes requests and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    let kinds = [
        pull(&endpoint, "/file"),
        "  - { uses: init.run, with: { command: [write, /file, x] } }\n".to_owned()
            + &step("init.s3_push", &endpoint, "out", "/file", ""),
    ];
    for steps in kinds {
        let coracle = Coracle::new();
        let body = format!("init:\n  steps:\n{steps}command: [echo, main]");
        let spec = coracle.job(&format!("stop_grace_period: 1h\n{body}"));
        let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
        let mut connection = accept(&listener);
        coracle.run(["cancel", &id]).expect_code(0);
        coracle.run(["wait", &id]);
        let record = coracle.inspect(&id);
        assert_eq!(record["status"], "cancelled", "{record:#}");
        assert!(record["reason"].as_str().unwrap_or_default().starts_with("cancelled in init step \"pu"), "{record:#}");
        // Ended with the role.
        connection.read_to_end(&mut Vec::new()).expect("the rest of the request");
        with_deadline(|deadline| {
            let spec = coracle.job(&format!("job: {{ deadline: {deadline} }}\nstop_grace_period: 1h\n{body}"));
            let finished = coracle.run(["run".as_ref(), spec.as_os_str()]).expect_error(125, &["deadline of"]);
            finished.stderr().contains("passed in init step \"pu")
        });
        // Whoever connected meanwhile is gone.
        listener.set_nonblocking(true).expect("a listener");
        while let Ok((mut connection, _)) = listener.accept() {
            // It may be closed already.
            let _ = connection.write_all(b"HTTP/1.1 500 Enough\r\n\r\n");
        }
        listener.set_nonblocking(false).expect("a listener");
    }
}

#[test]
fn a_push_that_the_store_has_whole_is_ended_at_once_and_may_have_been_stored() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    let job = |fields: &str| {
        let write = "  - { uses: init.run, with: { command: [write, /file, content] } }\n";
        let push = step("init.s3_push", &endpoint, "out", "/file", fields);
        format!("stop_grace_period: 1h\ninit:\n  steps:\n{write}{push}command: [echo, main]")
    };
    // Takes the whole object and does not answer.
    let take = || {
        let mut connection = accept(&listener);
        let mut taken = Vec::new();
        while !String::from_utf8_lossy(&taken).contains("content") {
            let mut some = [0; 4096];
            let count = connection.read(&mut some).expect("the request");
            assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&taken));
            taken.extend(&some[..count]);
        }
        connection
    };
    let coracle = Coracle::new();
    let spec = coracle.job(&job(""));
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    let connection = take();
    coracle.run(["cancel", &id]).expect_code(0);
    coracle.run(["wait", &id]);
    let record = coracle.inspect(&id);
    let reason = record["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("cancelled in init step \"push\": ") && reason.contains("it may have been stored"));
    drop(connection);
    let coracle = Coracle::new();
    let spec = coracle.job(&job("timeout: 3s,"));
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    let connection = take();
    coracle.run(["wait", &id]).expect_code(125);
    let record = coracle.inspect(&id);
    let reason = record["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("did not end within 3s") && reason.contains("it may have been stored"), "{record:#}");
    drop(connection);
}

#[test]
fn a_transfer_dies_with_the_supervisor() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    let coracle = Coracle::new();
    let spec = coracle.job(&format!("init:\n  steps:\n{}command: [echo, main]", pull(&endpoint, "/file")));
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    until_step(&coracle, &id, false);
    let mut connection = accept(&listener);
    coracle.supervisor(&id).signal(nix::sys::signal::Signal::SIGKILL);
    // The role's end of the connection ends with it.
    connection.read_to_end(&mut Vec::new()).expect("the rest of the request");
    coracle.run(["wait", &id]).expect_code(125);
}

/// Whoever runs coracle as root may use keys of others, though the role that asks the store has no rights.
#[test]
fn root_may_name_a_credentials_file_of_another_user() {
    if !needs(Feature::S3) || !needs(Feature::Root) {
        return;
    }
    let server = server_with(b"content\n");
    let coracle = Coracle::new();
    let path = coracle.scratch().join("credentials");
    let text = format!("[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n");
    std::fs::write(&path, text).expect("a scratch directory");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("an own file");
    std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("root may");
    let step = |path: &std::path::Path| {
        let (endpoint, path) = (&server.endpoint, path.display().to_string());
        coracle.job(&format!(
            "init:\n  steps:\n  - {{ id: pull, uses: init.s3_pull, with: {{ bucket: {BUCKET}, key: in/put.txt, \
             endpoint: {endpoint:?}, destination: /file, credentials_file: {path:?} }} }}\ncommand: [cat, /file]"
        ))
    };
    coracle.run(["run".as_ref(), step(&path).as_os_str()]).expect_code(0).expect_stdout("content\n");
    let nowhere = coracle.scratch().join("nowhere");
    let finished = coracle.run(["run".as_ref(), step(&nowhere).as_os_str()]);
    finished.expect_error(125, &["failed to read the credentials file", "No such file"]);
}

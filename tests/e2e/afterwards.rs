//! What happens when an execution has ended: notifications, and forgetting it.

use crate::common::cli::Coracle;
use crate::common::fixture;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

#[test]
fn rm_leaves_nothing_of_an_execution() {
    let coracle = Coracle::new();
    coracle.toolbox(&["--rm"], &["echo", "seen"]).expect_code(0).expect_stdout("seen\n");
    coracle.toolbox(&["--rm"], &["exit", "3"]).expect_code(3);
    assert_eq!(coracle.run(["ps", "-aq"]).expect_code(0).stdout(), "");
    let left = std::fs::read_dir(coracle.root().join("executions")).expect("a root").count();
    assert_eq!(left, 0);
}

#[test]
fn a_detached_execution_that_is_not_kept_is_forgotten_at_its_end() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&["--rm"], &["trap", "TERM", "--exit", "0"]);
    let mut waiting = coracle.start(coracle.command(["wait", &id]));
    coracle.run(["cancel", &id]).expect_code(0);
    // Whoever waited has seen it.
    assert!(waiting.line().is_some(), "an exit code");
    waiting.finish();
    coracle.run(["inspect", &id]).expect_error(125, &["no execution"]);
}

#[test]
fn whoever_waits_sees_the_end_of_what_is_removed() {
    let coracle = Coracle::new();
    let id = coracle.detach_toolbox(&[], &["trap", "TERM", "--exit", "4"]);
    super::lifecycle::until_line(&coracle, &id, "ready");
    let waiting: Vec<_> = (0..3).map(|_| coracle.start(coracle.command(["wait", &id]))).collect();
    // Each has a lock on a byte of the file, which /proc/locks shows by its inode.
    let waiters = || {
        let Ok(lock) = std::fs::metadata(coracle.root().join("waiters.lock")) else { return 0 };
        let inode = format!(":{} ", lock.ino());
        let locks = std::fs::read_to_string("/proc/locks").expect("a mounted /proc");
        locks.lines().filter(|line| line.contains(&inode)).count()
    };
    while waiters() < 3 {}
    coracle.run(["rm", "-f", &id]).expect_code(0);
    waiting.into_iter().for_each(|waiting| drop(waiting.finish().expect_code(4).expect_stdout("4\n")));
    coracle.run(["inspect", &id]).expect_error(125, &["no execution"]);
}

#[test]
fn a_failure_runs_a_registered_job() {
    let coracle = Coracle::new();
    let spec = format!(
        "version: v1\ndeployment: test\nservices:\n  \
           work: {{ rtype: job, image: {{ name: {image:?} }}, command: [exit, \"5\"], job: {{ on_failure: told }} }}\n  \
           told: {{ rtype: job, image: {{ name: {image:?} }}, command: [env] }}\n",
        image = fixture::toolbox(),
    );
    let spec = coracle.file("two.yaml", spec);
    coracle.run(["jobs".as_ref(), "add".as_ref(), spec.as_os_str()]).expect_code(0);
    let mut events = coracle.command(["events", "--json", "--job", "told"]);
    let mut events = events.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary");
    let mut lines = BufReader::new(events.stdout.take().expect("a pipe")).lines();
    let parent = coracle.run(["trigger", "work", "--wait"]).expect_code(5).stdout().trim().to_owned();
    let told = || {
        let listed = coracle.run(["ps", "-a", "--job", "told", "--json"]).expect_code(0);
        serde_json::from_slice::<Vec<serde_json::Value>>(&listed.stdout).expect("a list").pop()
    };
    // It may have ended before the events were listened to.
    while told().is_none_or(|one| one["status"] != "completed") {
        lines.next().expect("another event").expect("text");
    }
    events.kill().and_then(|()| events.wait()).expect("a child");
    let id = told().expect("an execution")["id"].as_str().expect("an id").to_owned();
    let log = coracle.run(["logs", &id]).expect_code(0).lines();
    for expected in [
        format!("CORACLE_PARENT_EXECUTION_ID={parent}"),
        "CORACLE_PARENT_EXIT_CODE=5".into(),
        "CORACLE_PARENT_JOB_NAME=work".into(),
    ] {
        assert!(log.contains(&expected), "no {expected} in {log:?}");
    }
    assert_eq!(coracle.inspect(&id)["trigger"]["kind"], "internal");
}

#[test]
fn a_success_is_posted_until_it_is_taken() {
    let coracle = Coracle::new();
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("its address");
    let spec = coracle.job(&format!(
        "command: [echo, done]\njob: {{ on_success: {{ post: \"http://{address}/hook\", headers: {{ X-Team: data }} }} }}"
    ));
    let id = coracle.detach(&[spec.to_str().expect("a plain name")]);
    let first = answer(&server, "503 Service Unavailable");
    let second = answer(&server, "204 No Content");
    for request in [&first, &second] {
        assert!(request.starts_with("POST /hook ") && request.to_lowercase().contains("x-team: data"), "{request}");
        let body = request.split_once("\r\n\r\n").expect("a head and a body").1;
        let document: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&document["id"], &document["status"]), (&id.as_str().into(), &"completed".into()), "{body}");
    }
    coracle.run(["wait", &id]).expect_code(0);
}

/// Takes one request and answers it; returns its text.
fn answer(server: &TcpListener, status: &str) -> String {
    let (mut stream, _) = server.accept().expect("a connection");
    let text = read_request(&stream);
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").expect("a client that reads");
    text
}

fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    let mut length = 0;
    loop {
        let begin = text.len();
        reader.read_line(&mut text).expect("a line");
        let line = text[begin..].trim_end().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a whole body");
    text + &String::from_utf8(body).expect("text")
}

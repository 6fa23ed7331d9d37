//! What a pull shows, on a terminal and elsewhere, and how it is interrupted.

use crate::common::cli::{Coracle, Finished};
use crate::common::host::Process;
use crate::common::terminal::OnTerminal;
use crate::layout::{Compression, Layer, LayoutBuilder, Tar, digest};
use crate::server::{Answer, Server, blob_path, digest_of};
use nix::sys::signal::Signal;
use std::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Layers that a registry serves.
pub struct Site {
    layout: LayoutBuilder,
    layers: Vec<Layer>,
    manifest: String,
}

impl Site {
    /// An image of small layers and, on top, one too large to be in any buffer when half of it was sent.
    pub fn new(coracle: &Coracle, small: usize) -> Site {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let content: Vec<u8> = (0..8 << 20).map(|_| random()).collect();
        let mut layers: Vec<Layer> = (0..small)
            .map(|index| Layer::new(Tar::new().file(&format!("small-{index}"), b"x"), Compression::Gzip))
            .collect();
        layers.push(Layer::new(Tar::new().file("large", &content), Compression::Gzip));
        let mut layout = LayoutBuilder::new(&coracle.scratch().join("layout"));
        let manifest = digest_of(&layout.image(&layers));
        Site { layout, layers, manifest }
    }

    /// Twelve digits of a layer's blob.
    fn short(&self, index: usize) -> String {
        digest(&self.layers[index].blob)["sha256:".len()..][..12].to_owned()
    }

    fn serve(&self) -> Server {
        Server::start(&self.layout, &self.manifest, |_| Answer::Normal)
    }

    /// Sends half of the large layer and says so.
    pub fn stall(&self) -> (Server, UnboundedReceiver<()>) {
        let path = blob_path(&self.layers.last().expect("a layer").blob);
        let (stalled, is_stalled) = unbounded_channel();
        let server = Server::start(&self.layout, &self.manifest, move |request| {
            if request.ends_with(&path) { Answer::Stall(stalled.clone()) } else { Answer::Normal }
        });
        (server, is_stalled)
    }
}

/// `HOST/image@DIGEST`, which a pull prints.
fn by_digest(site: &Site, server: &Server) -> String {
    format!("{}@{}\n", server.reference().trim_end_matches(":latest"), site.manifest)
}

/// What was said of the pull, without notes about this user's ids.
fn said(finished: &Finished) -> Vec<String> {
    let said = finished.stderr();
    said.lines().filter(|line| !line.starts_with("coracle: note: ")).map(str::to_owned).collect()
}

/// The names in the directory of what is being pulled.
pub fn staged(coracle: &Coracle) -> Vec<String> {
    let entries = std::fs::read_dir(coracle.root().join("staging")).expect("a state root");
    entries.map(|entry| entry.expect("an entry").file_name().display().to_string()).collect()
}

fn on_terminal(coracle: &Coracle, arguments: &[&str]) -> Command {
    let mut command = coracle.command(arguments);
    command.env("TERM", "xterm");
    command
}

#[test]
fn lines_tell_each_layers_way_where_there_is_no_terminal() {
    let coracle = Coracle::new();
    let site = Site::new(&coracle, 1);
    let server = site.serve();
    let reference = server.reference();
    let pulled = coracle.run(["pull", &reference]).expect_code(0).expect_stdout(&by_digest(&site, &server));
    let lines = said(&pulled);
    assert!(lines[0].starts_with(&format!("coracle: {reference}: pulling 2 of 2 layers, 8.")), "{pulled}");
    assert!(lines[5].starts_with(&format!("coracle: {reference}: pulled in ")), "{pulled}");
    for index in 0..2 {
        let of_layer: Vec<_> = lines.iter().filter(|line| line.contains(&site.short(index))).collect();
        assert!(of_layer[0].contains(": pulling ") && of_layer[1].ends_with(": done"), "{pulled}");
    }
    assert_eq!(lines.len(), 6, "{pulled}");
    // Nothing to get, nothing to tell.
    let again = coracle.run(["pull", &reference]).expect_code(0).expect_stdout(&by_digest(&site, &server));
    assert_eq!(said(&again), Vec::<String>::new());
}

#[test]
fn quiet_leaves_the_result_alone() {
    for flags in [&["--quiet"][..], &["-q", "--progress=json"], &["--progress=none"]] {
        let coracle = Coracle::new();
        let site = Site::new(&coracle, 0);
        let server = site.serve();
        let reference = server.reference();
        let arguments = [&["pull", &reference], flags].concat();
        let pulled = coracle.run(arguments).expect_code(0).expect_stdout(&by_digest(&site, &server));
        assert_eq!(said(&pulled), Vec::<String>::new());
        // Without progress notes are shown all the same; quiet is without them too.
        assert!(flags == ["--progress=none"] || pulled.stderr().is_empty(), "{pulled}");
    }
}

#[test]
fn events_are_json_a_line() {
    let coracle = Coracle::new();
    let site = Site::new(&coracle, 1);
    let server = site.serve();
    let arguments = ["pull", "--progress", "json", &server.reference()];
    let pulled = coracle.run(arguments).expect_code(0).expect_stdout(&by_digest(&site, &server));
    let events: Vec<serde_json::Value> = pulled
        .stderr()
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{pulled}")))
        .collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(events[0]["event"], "started");
    assert_eq!(events[0]["image"], server.reference());
    assert_eq!(events[0]["digest"], site.manifest);
    for (index, layer) in site.layers.iter().enumerate() {
        let digest = digest(&layer.blob);
        let expected = serde_json::json!({"layer": digest, "size": layer.blob.len(), "present": false});
        assert_eq!(events[0]["layers"][index], expected);
        assert!(of("advanced").iter().any(|event| event["layer"] == digest && event["received"] == 0), "{pulled}");
        assert_eq!(of("done").iter().filter(|event| event["layer"] == digest).count(), 1, "{pulled}");
    }
    assert_eq!(events.last().expect("events")["event"], "finished");
}

#[test]
fn a_run_shows_the_pull_and_then_nothing_but_the_job() {
    let coracle = Coracle::new();
    let site = Site::new(&coracle, 0);
    let server = site.serve();
    let run = |flags: &[&str]| {
        // The image has no program: what follows the pull is that error.
        coracle.finish(coracle.image_command(&server.reference(), flags, &["/nothing"])).expect_code(127)
    };
    let shows = |ran: &Finished| ran.stderr().contains(&site.short(0));
    let first = run(&[]);
    assert!(shows(&first), "{first}");
    assert!(first.stderr().lines().last().expect("lines").contains("/nothing"), "{first}");
    let second = run(&[]);
    assert_eq!(said(&second).len(), 1, "{second}");
    let fresh = Coracle::new();
    let command = fresh.image_command(&server.reference(), &["--quiet"], &["/nothing"]);
    let quiet = fresh.finish(command).expect_code(127);
    assert!(!shows(&quiet), "{quiet}");
    assert_eq!(said(&quiet).len(), 1, "{quiet}");
}

#[test]
fn bars_come_and_go_on_a_terminal() {
    let coracle = Coracle::new();
    let site = Site::new(&coracle, 1);
    let server = site.serve();
    let reference = server.reference();
    let left = OnTerminal::start(on_terminal(&coracle, &["pull", &reference]), 24, 100).finish();
    assert_eq!(left.code, Some(0), "{}", left.raw);
    for text in [&*site.short(0), &site.short(1), "total ", "/2 layers [", "MiB/s"] {
        assert!(left.raw.contains(text), "{text:?} was never there: {:?}", left.raw);
    }
    assert!(left.screen.starts_with(&format!("coracle: {reference}: pulled in ")), "{}", left.screen);
    assert!(left.screen.replace('\n', "").ends_with(by_digest(&site, &server).trim_end()), "{}", left.screen);
    assert!(!left.screen.contains("total "), "{}", left.screen);
    assert_eq!(left.column, 0);
}

#[test]
fn an_interrupted_pull_leaves_the_terminal_and_the_store_clean() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let coracle = Coracle::new();
        let site = Site::new(&coracle, 1);
        let (server, mut is_stalled) = site.stall();
        let mut running = OnTerminal::start(on_terminal(&coracle, &["pull", &server.reference()]), 24, 100);
        coracle.until("a stalled registry", || is_stalled.try_recv().is_ok());
        // Rate and time left are drawn anew while nothing comes.
        running.until(|screen| {
            let mut lines = screen.lines().filter(|line| line.contains(&site.short(1)));
            lines.any(|line| line.contains("pulling")) && screen.contains("1/2 layers") && screen.contains("done")
        });
        running.process.signal(signal);
        let left = running.finish();
        assert_eq!(left.code, Some(code), "{}", left.raw);
        assert_eq!(
            left.screen.replace('\n', ""),
            "coracle: note: interrupted; finished layers are kept; the next pull goes on from there"
        );
        assert_eq!((left.column, staged(&coracle)), (0, Vec::new()));
        assert_eq!(coracle.layers().len(), 1, "the finished layer is kept");
    }
}

#[test]
fn an_interrupted_run_says_what_is_kept() {
    let coracle = Coracle::new();
    let site = Site::new(&coracle, 0);
    let (server, mut is_stalled) = site.stall();
    let running = coracle.start(coracle.image_command(&server.reference(), &[], &["/nothing"]));
    coracle.until("a stalled registry", || is_stalled.try_recv().is_ok());
    running.process.signal(Signal::SIGINT);
    let texts = ["cancelled before its start", "finished layers are kept; the next pull goes on from there"];
    running.finish().expect_error(130, &texts);
    assert_eq!(staged(&coracle), Vec::<String>::new());
}

#[test]
fn a_failed_pull_leaves_the_terminal_clean() {
    let coracle = Coracle::new();
    let site = Site::new(&coracle, 1);
    let path = blob_path(&site.layers[1].blob);
    let server = Server::start(&site.layout, &site.manifest, move |request| {
        if request.ends_with(&path) { Answer::Body(vec![b'x'; 100]) } else { Answer::Normal }
    });
    let left = OnTerminal::start(on_terminal(&coracle, &["pull", &server.reference()]), 24, 100).finish();
    assert_eq!(left.code, Some(125), "{}", left.raw);
    assert!(left.raw.contains("total "), "{:?}", left.raw);
    assert!(left.screen.starts_with("coracle: error: failed to get the layer"), "{}", left.screen);
    assert!(!left.screen.contains("total ") && !left.screen.contains("[="), "{}", left.screen);
    assert_eq!(left.column, 0);
}

#[test]
fn many_layers_stay_within_a_small_terminal() {
    let coracle = Coracle::new();
    let site = Site::new(&coracle, 25);
    let (server, mut is_stalled) = site.stall();
    let mut running = OnTerminal::start(on_terminal(&coracle, &["pull", &server.reference()]), 8, 40);
    coracle.until("a stalled registry", || is_stalled.try_recv().is_ok());
    // Of 26 layers those are shown that are being pulled; and narrow terminals get no bars.
    running.until(|screen| {
        let lines: Vec<&str> = screen.lines().collect();
        let [title, layer, total] = *lines else { return false };
        title == server.reference()
            && layer.starts_with(&format!("{} pulling", site.short(25)))
            && total.starts_with("total 25/26")
            && !screen.contains('[')
    });
    running.process.signal(Signal::SIGINT);
    let left = running.finish();
    assert_eq!(left.code, Some(130), "{}", left.raw);
    assert!(left.screen.starts_with("coracle: note: interrupted;"), "{}", left.screen);
}

#[test]
fn a_terminal_that_cannot_or_must_not_be_drawn_on_gets_lines() {
    for (name, value) in [("TERM", "dumb"), ("NO_COLOR", "1")] {
        let coracle = Coracle::new();
        let site = Site::new(&coracle, 0);
        let server = site.serve();
        let mut command = on_terminal(&coracle, &["pull", &server.reference()]);
        command.env(name, value);
        let left = OnTerminal::start(command, 24, 200).finish();
        assert_eq!(left.code, Some(0), "{}", left.raw);
        assert!(!left.raw.contains('\u{1b}') && left.raw.contains(": done\r\n"), "{name}: {:?}", left.raw);
    }
}

#[test]
fn a_pull_says_that_it_waits_for_another_process() {
    let coracle = Coracle::new();
    let site = Site::new(&coracle, 0);
    let (server, mut is_stalled) = site.stall();
    let first = coracle.start(coracle.command(["pull", "-q", &server.reference()]));
    coracle.until("a stalled registry", || is_stalled.try_recv().is_ok());
    let mut second = OnTerminal::start(on_terminal(&coracle, &["pull", &server.reference()]), 24, 100);
    second.until(|screen| screen.lines().any(|line| line.contains(&site.short(0)) && line.contains("waiting")));
    let end = |process: &Process| process.signal(Signal::SIGINT);
    end(&second.process);
    assert_eq!(second.finish().code, Some(130), "it waits no longer than it is wanted to");
    end(&first.process);
    first.finish().expect_code(130);
}

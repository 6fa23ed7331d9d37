//! Cancel and deadline while the image is pulled: nothing of it is left, and the next one has its turn.

use super::lifecycle::with_deadline;
use super::progress::{Site, staged};
use super::queue::trigger;
use super::record::of_each;
use super::retry::with_fifo;
use super::takeover::assert_speaks;
use crate::common::cli::{Coracle, Running};
use std::time::Duration;

/// A run whose pull has stopped half-way, and another execution of its job that waits for its turn. False when the
/// run ended before that.
fn stalled_pull(coracle: &Coracle, flags: &[&str], test: impl FnOnce(Running, &str)) -> bool {
    let fifo = with_fifo(coracle, "max_concurrent: 1", "echo mine > /io/fifo");
    let site = Site::new(coracle, 0);
    let (server, mut is_stalled) = site.stall();
    let flags = [&["--name", "job", "--max-concurrent", "1", "--grace", "1h"], flags].concat();
    let front = coracle.start(coracle.image_command(&server.reference(), &flags, &["true"]));
    let mut has_stalled = false;
    coracle.until("a stalled registry", || {
        has_stalled = is_stalled.try_recv().is_ok();
        has_stalled || front.process.ends_within(Duration::ZERO)
    });
    if !has_stalled {
        front.finish();
        return false;
    }
    let waiting = trigger(coracle, &[]);
    let id = of_each::<String>(coracle, "id").remove(0);
    test(front, &id);
    assert_speaks(fifo);
    coracle.run(["wait", &waiting]);
    assert_eq!(staged(coracle), Vec::<String>::new());
    true
}

fn assert_ended(coracle: &Coracle, id: &str, status: &str, kind: &str) {
    let record = coracle.inspect(id);
    assert_eq!((&record["status"], &record["end"]["kind"]), (&status.into(), &kind.into()), "{record:#}");
    assert_eq!(record["end"]["stopped"]["kind"], "before_start", "{record:#}");
    assert!(record["started_at"].is_null(), "{record:#}");
}

#[test]
fn the_deadline_ends_a_pull() {
    with_deadline(|deadline| {
        let coracle = Coracle::new();
        stalled_pull(&coracle, &["--deadline", deadline], |front, id| {
            front.finish().expect_error(125, &[&format!("deadline of {deadline} passed")]);
            assert_ended(&coracle, id, "failed", "deadline");
        })
    });
}

#[test]
fn cancel_ends_a_pull_of_another_process() {
    let coracle = Coracle::new();
    let has_stalled = stalled_pull(&coracle, &[], |front, id| {
        assert!(!staged(&coracle).is_empty(), "half of a layer");
        coracle.run(["cancel", id]).expect_code(0);
        front.finish().expect_error(143, &["cancelled"]);
        assert_ended(&coracle, id, "cancelled", "cancelled");
    });
    assert!(has_stalled, "it ended by itself");
}

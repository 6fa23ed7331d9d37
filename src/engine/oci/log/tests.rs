use super::*;
use crate::engine::{ImageConfig, OWN_BINARY};
use crate::id::JobExecutionId;
use crate::log::{LogStream as Stream, RingWriter};
use crate::state_dir::StateDir;
use jiff::Timestamp;

/// Bytes of an event that a follower holds.
fn held(following: &Following) -> usize {
    let bytes = |event: &LogEvent| match event {
        LogEvent::Entry(entry) => entry.bytes.len(),
        LogEvent::CaughtUp { .. } => 0,
    };
    following.events.iter().map(bytes).sum()
}

#[tokio::test]
async fn a_large_log_is_never_in_memory_as_a_whole() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = StateDir::open(Some(&directory.path().join("root"))).expect("a root");
    let container = ContainerId::new(&JobExecutionId::new(), 1);
    let path = state.container(&container).log();
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a writable root");
    let mut writer = RingWriter::create(&path, 16 << 20, Timestamp::UNIX_EPOCH).expect("a log");
    let piece = [b'x'; 50_000];
    (0..200).for_each(|_| writer.append(Stream::Stdout, None, Timestamp::UNIX_EPOCH, &piece));
    let runtime = OciRuntime::on(state, OWN_BINARY.into(), ImageConfig::default()).expect("a runtime");
    for follow in [false, true] {
        let reader = Reader::open(&path).expect("a log");
        let mut following =
            Following::new(runtime.clone(), container.clone(), reader, LogQuery { follow, ..LogQuery::default() });
        let (mut bytes, mut most, mut ends) = (0, 0, 0);
        while let Some(event) = following.next().await.expect("a sound log") {
            most = most.max(held(&following));
            match event {
                LogEvent::Entry(entry) => bytes += entry.bytes.len(),
                LogEvent::CaughtUp { missed } => ends += usize::from(missed == 0),
            }
        }
        assert_eq!((bytes, ends), (200 * piece.len(), 1), "follow: {follow}");
        assert!(most < 512 << 10, "{most} bytes held at once");
    }
}

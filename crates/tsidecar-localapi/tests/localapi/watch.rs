//! The bus: lines however they are cut, their bound, and how the bus ends.

use std::{future::poll_fn, task::Poll, time::Duration};

use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::UnixStream, sync::mpsc};
use tsidecar_localapi::{
    BackendState, Client, Endpoint, Error, Limits, NodeId, Notify, PeerChange, UserId, Watch, WatchMask,
};

use crate::daemon::{Daemon, Reply, act, raw, read_head};

/// Sends what the test says, one chunk a message, until the sender is dropped; then ends the body properly or not.
struct Bus {
    _folder: TempDir,
    chunks: Option<mpsc::UnboundedSender<String>>,
    watch: Watch,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Proper,
    Cut,
}

impl Bus {
    async fn open(end: End, limits: Limits) -> Self {
        let folder = TempDir::new().unwrap();
        let (chunks, sent) = mpsc::unbounded_channel::<String>();
        let serve = act(async move |stream| send(stream, sent, end).await);
        let client = Client::new(raw(folder.path(), vec![serve])).with_limits(limits);
        let watch = client.watch(WatchMask::CHANGES).await.unwrap();
        assert_eq!(client.daemon().unwrap().capability, 142);
        Self { _folder: folder, chunks: Some(chunks), watch }
    }

    fn chunk(&self, text: &str) {
        self.chunks.as_ref().unwrap().send(text.to_owned()).unwrap();
    }

    fn end(&mut self) {
        self.chunks = None;
    }

    async fn next(&mut self) -> Notify {
        self.watch.next().await.unwrap().unwrap()
    }
}

async fn send(mut stream: UnixStream, mut sent: mpsc::UnboundedReceiver<String>, end: End) {
    assert!(read_head(&mut stream).await);
    let head = b"HTTP/1.1 200 OK\r\nTailscale-Cap: 142\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await.unwrap();
    while let Some(text) = sent.recv().await {
        let _ = stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await;
    }
    if end == End::Proper {
        let _ = stream.write_all(b"0\r\n\r\n").await;
    }
}

/// Whether the bus has nothing to say at this moment.
async fn is_silent(watch: &mut Watch) -> bool {
    let mut next = Box::pin(watch.next());
    poll_fn(|context| Poll::Ready(next.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn the_mask_is_sent_and_old_daemons_have_a_fallback() {
    let daemon = Daemon::start(|seen| match seen.path.as_str() {
        "/localapi/v0/watch-ipn-bus?mask=6" => Reply::ok("{\"State\":6}\n"),
        _ => Reply::status(400, "bad mask\n"),
    });
    let client = daemon.client();
    let error = client.watch(WatchMask::CHANGES).await.err().unwrap();
    assert!(matches!(&error, Error::Status { code: 400, message, .. } if message == "bad mask"), "{error:?}");
    let mut watch = client.watch(WatchMask::CHANGES.fallback()).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().state, Some(BackendState::Running));
    assert!(watch.next().await.unwrap().is_none());
    let paths = ["/localapi/v0/watch-ipn-bus?mask=36870", "/localapi/v0/watch-ipn-bus?mask=6"];
    assert_eq!(daemon.paths(), paths);
}

#[tokio::test]
async fn every_field_is_read() {
    let mut bus = Bus::open(End::Proper, Limits::default()).await;
    let line = r#"{"Version":"1.102.3","SessionID":"abc","ErrMessage":null,"LoginFinished":null,"State":6,
        "Prefs":{"RunSSH":true},"NetMap":null,"SelfChange":{"ID":1,"StableID":"n1"},
        "PeersChanged":[{"ID":9007199254740993,"StableID":"n2","Addresses":["100.64.0.2/32"]}],"PeersRemoved":[3,4],
        "PeerChangedPatch":[{"NodeID":5,"Online":false,"DERPRegion":2}],"UserProfiles":{"3301":{"ID":3301,"LoginName":"alice@example.com"}},
        "Engine":null,"BrowseToURL":null,"DriveShares":null,"Health":{"Warnings":{}},"Unknown":[1]}"#;
    bus.chunk(&format!("{}\n", line.replace('\n', "")));
    let notify = bus.next().await;
    assert_eq!((notify.version.as_str(), notify.session_id.as_str()), ("1.102.3", "abc"));
    assert_eq!((notify.err_message, notify.state), (None, Some(BackendState::Running)));
    assert!(notify.prefs.unwrap().run_ssh);
    assert_eq!((notify.net_map, notify.health), (false, true));
    assert_eq!(notify.self_change.unwrap().stable_id.as_str(), "n1");
    let changed = &notify.peers_changed[0];
    assert_eq!((changed.id, changed.stable_id.as_str()), (NodeId(9_007_199_254_740_993), "n2"));
    assert_eq!(changed.addresses, ["100.64.0.2/32".parse().unwrap()]);
    assert_eq!(notify.peers_removed, [NodeId(3), NodeId(4)]);
    assert_eq!(notify.peer_changed_patch, [PeerChange { node_id: NodeId(5), online: Some(false) }]);
    assert_eq!(notify.user_profiles[&UserId(3301)].login_name.as_str(), "alice@example.com");

    bus.chunk("{\"NetMap\":{\"Peers\":[{\"ID\":1}]},\"State\":99,\"ErrMessage\":\"too slow\"}\n");
    let notify = bus.next().await;
    assert_eq!((notify.net_map, notify.err_message.as_deref()), (true, Some("too slow")));
    assert_eq!(notify.state, Some(BackendState::Other("99".into())));

    bus.chunk("{}\n");
    assert_eq!(bus.next().await, Notify::default());
    bus.end();
    assert!(bus.watch.next().await.unwrap().is_none());
}

#[tokio::test]
async fn states_have_numbers() {
    let mut bus = Bus::open(End::Proper, Limits::default()).await;
    let names =
        ["NoState", "InUseOtherUser", "NeedsLogin", "NeedsMachineAuth", "Stopped", "Starting", "Running"];
    for (number, name) in names.iter().enumerate() {
        bus.chunk(&format!("{{\"State\":{number}}}\n"));
        assert_eq!(bus.next().await.state, Some(BackendState::from_name(name)));
    }
    assert_eq!(BackendState::from_name("Dreaming"), BackendState::Other("Dreaming".into()));
}

#[tokio::test]
async fn lines_may_be_cut_and_joined_anywhere() {
    let lines = (0..20).map(|number| format!("{{\"PeersRemoved\":[{number}],\"Version\":\"ä\"}}\n"));
    let text = lines.collect::<Vec<_>>().concat();
    for size in [1, 2, 3, 7, 31, 64, 1000] {
        let mut bus = Bus::open(End::Proper, Limits::default()).await;
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let mut end = size.min(rest.len());
            while !rest.is_char_boundary(end) {
                end += 1;
            }
            bus.chunk(&rest[..end]);
            rest = &rest[end..];
        }
        for number in 0..20 {
            assert_eq!(bus.next().await.peers_removed, [NodeId(number)], "chunks of {size}");
        }
        bus.end();
        assert!(bus.watch.next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn short_lines_may_follow_half_a_long_one() {
    let mut bus = Bus::open(End::Proper, Limits::default()).await;
    bus.chunk("{\"PeersRemoved\":[1],\"Version\":\"long");
    assert!(is_silent(&mut bus.watch).await);
    bus.chunk("\"}\n{}\n{\"State\":6}\n");
    assert_eq!(bus.next().await.peers_removed, [NodeId(1)]);
    assert_eq!(bus.next().await, Notify::default());
    assert_eq!(bus.next().await.state, Some(BackendState::Running));
}

#[tokio::test]
async fn half_a_line_survives_a_cancelled_call() {
    let mut bus = Bus::open(End::Proper, Limits::default()).await;
    bus.chunk("{\"PeersRemoved\":[1]}\n{\"PeersRem");
    assert_eq!(bus.next().await.peers_removed, [NodeId(1)]);
    assert!(is_silent(&mut bus.watch).await);
    bus.chunk("oved\":[2]}\n");
    assert_eq!(bus.next().await.peers_removed, [NodeId(2)]);
}

#[tokio::test]
async fn empty_lines_are_no_changes() {
    let mut bus = Bus::open(End::Proper, Limits::default()).await;
    bus.chunk("\n\r\n  \n{\"State\":5}\r\n");
    assert_eq!(bus.next().await.state, Some(BackendState::Starting));
}

#[tokio::test]
async fn lines_have_a_bound() {
    let limits = Limits { line_bytes: 100, ..Limits::default() };
    let line = |length: usize| format!("{{\"Version\":\"{}\"}}", "x".repeat(length - 14));
    let mut bus = Bus::open(End::Proper, limits).await;
    bus.chunk(&format!("{}\n{}\n", line(100), line(100)));
    assert_eq!(bus.next().await.version.len(), 86);
    assert_eq!(bus.next().await.version.len(), 86);
    bus.chunk(&format!("{}\n", line(101)));
    let error = bus.watch.next().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { endpoint: Endpoint::Watch, limit: 100 }), "{error:?}");

    let mut bus = Bus::open(End::Proper, limits).await;
    bus.chunk(&"x".repeat(60));
    assert!(is_silent(&mut bus.watch).await);
    bus.chunk(&"x".repeat(60));
    let error = bus.watch.next().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 100, .. }), "never a line end: {error:?}");
}

#[tokio::test]
async fn nonsense_is_malformed() {
    for text in ["nonsense\n", "{\"State\":\"Running\"}\n", "[]x\n", "{\"PeersRemoved\":[\"1\"]}\n"] {
        let mut bus = Bus::open(End::Proper, Limits::default()).await;
        bus.chunk(text);
        let error = bus.watch.next().await.unwrap_err();
        assert!(matches!(error, Error::Malformed { endpoint: Endpoint::Watch, .. }), "{text}: {error:?}");
    }
}

#[tokio::test]
async fn a_bus_that_breaks_is_told_from_one_that_ends() {
    for (end, text) in [(End::Cut, ""), (End::Cut, "{\"St"), (End::Proper, "{\"St")] {
        let mut bus = Bus::open(end, Limits::default()).await;
        if !text.is_empty() {
            bus.chunk(text);
        }
        bus.end();
        let error = bus.watch.next().await.unwrap_err();
        assert!(matches!(error, Error::Io { endpoint: Endpoint::Watch, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_silent_bus_has_no_deadline() {
    let mut bus = Bus::open(End::Proper, Limits::default()).await;
    assert!(is_silent(&mut bus.watch).await);
    tokio::time::pause();
    tokio::time::advance(Duration::from_hours(24)).await;
    tokio::time::resume();
    bus.chunk("{\"State\":6}\n");
    assert_eq!(bus.next().await.state, Some(BackendState::Running));
}

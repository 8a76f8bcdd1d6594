//! `kill -9` of the whole daemon under load: what a client was answered holds after the next start.
//!
//! The store's own loop of two hundred kills is in `tests/durability`; here every answer goes through HTTP, signing and
//! the endpoint, where a token could be handed out before its commit is acknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::support::{ALICE, App, Daemon, Setup, through_serve};

const KILLS: usize = 20;

/// Refresh chains that run at once.
const CHAINS: usize = 6;

/// One login and what came of it; the tokens as they were answered, the newest last.
struct Chain {
    code: String,
    tokens: Vec<String>,
}

impl Chain {
    fn begin(daemon: &Daemon) -> Self {
        let app = App::public(daemon);
        let code = app.code(&ALICE, &[]);
        let reply = app.redeem(&ALICE, &code, &[]);
        assert_eq!(reply.status, 200, "{}", reply.show());
        Self { code, tokens: vec![reply.member("refresh_token")] }
    }

    /// Refreshes until the daemon is gone. The answer that a kill cut off was never given.
    fn refresh_until_killed(&mut self, daemon: &Daemon, acknowledged: impl Fn()) {
        loop {
            let request = App::public(daemon).renewal(self.tokens.last().unwrap(), &[]);
            let Ok(reply) = daemon.try_raw("serve.sock", &through_serve(&ALICE, request)) else { return };
            let Ok(body) = serde_json::from_slice::<Value>(&reply.body) else { return };
            assert_eq!(reply.status, 200, "{}", reply.show());
            self.tokens.push(body["refresh_token"].as_str().unwrap().to_owned());
            acknowledged();
        }
    }

    /// The newest token works, be it that its successor was made and never answered.
    fn goes_on(&mut self, daemon: &Daemon) {
        let reply = App::public(daemon).refresh(&ALICE, self.tokens.last().unwrap(), &[]);
        assert_eq!(reply.status, 200, "an acknowledged refresh is lost: {}", reply.show());
        self.tokens.push(reply.member("refresh_token"));
    }

    /// What was used up and rotated away does not work, and ends the chain.
    fn must_not_come_back(&self, daemon: &Daemon) {
        let app = App::public(daemon);
        if let [.., old, _, _] = self.tokens.as_slice() {
            assert_eq!(app.refresh(&ALICE, old, &[]).error(), "invalid_grant");
        }
        assert_eq!(app.redeem(&ALICE, &self.code, &[]).error(), "invalid_grant");
        assert_eq!(app.refresh(&ALICE, self.tokens.last().unwrap(), &[]).error(), "invalid_grant");
    }
}

#[test]
fn what_was_answered_holds_after_kill_9_under_load() {
    let limits = "node_requests_per_minute = 0";
    let mut daemon = Setup::default().limits(limits).start();
    let mut chains: Vec<_> = (0..CHAINS).map(|_| Chain::begin(&daemon)).collect();
    for kill in 0..KILLS {
        let (acknowledged, after) = (AtomicUsize::new(0), 1 + kill * 7 % 50);
        thread::scope(|scope| {
            for chain in &mut chains {
                let (daemon, acknowledged) = (&daemon, &acknowledged);
                scope.spawn(move || {
                    chain.refresh_until_killed(daemon, || {
                        if acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == after {
                            daemon.signal("KILL");
                        }
                    });
                });
            }
        });
        daemon.ended();
        daemon.relaunch();
        for chain in &mut chains {
            chain.goes_on(&daemon);
        }
        let ended = &mut chains[kill % CHAINS];
        ended.must_not_come_back(&daemon);
        *ended = Chain::begin(&daemon);
    }
}

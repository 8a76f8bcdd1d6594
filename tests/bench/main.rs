//! Whole logins and refreshes against the release binary: throughput, latency, server CPU in RSA-2048 signatures of the same run,
//! memory. `tests/bench/run` starts it; `README.md` explains the figures.
//!
//! This process plays tailscaled and the serve hop and makes the load, from one thread that polls. Only the CPU of
//! the server's own process counts.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what fails here ends the bench"
)]

mod load;
mod server;

use std::{process::ExitCode, time::Duration};

use tsidecar_oauth::{
    id::KeyId,
    jose::{Algorithm, PrivateKeyPem, SigningKey, TokenType},
};

use self::{
    load::{Kind, Measured},
    server::Server,
};

/// At 64 connections, in RSA-2048 signatures of server CPU per login.
const MOST_RS256: f64 = 1.5;
const MOST_ES256: f64 = 0.45;

fn main() -> ExitCode {
    let seconds = argument("--seconds").unwrap_or(5);
    let only = std::env::args().skip_while(|argument| argument != "--only").nth(1);
    let mut server = Server::start();
    println!("one RSA-2048 signature: {:.0} µs of CPU", signature_cost() * 1e6);
    println!(
        "{:<16} {:>5} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}",
        "what", "conn.", "per s", "p50 ms", "p99 ms", "CPU µs", "signatures", "RSS B"
    );
    let mut missed = false;
    for (kind, most) in [
        (Kind::Login("rs"), Some(MOST_RS256)),
        (Kind::Login("es"), Some(MOST_ES256)),
        (Kind::Refresh("rs"), None),
        (Kind::Refresh("es"), None),
        (Kind::Userinfo("rs"), None),
        (Kind::Introspect("rs"), None),
    ] {
        if only.as_ref().is_some_and(|only| *only != kind.name()) {
            continue;
        }
        load::run(&server, kind, 16, Duration::from_secs(1));
        for connections in [1, 16, 64] {
            let before = signature_cost();
            let measured = load::run(&server, kind, connections, Duration::from_secs(seconds));
            // The machine has its moods: what stands around a measurement is what it is compared with.
            let signatures = measured.cpu / f64::midpoint(before, signature_cost());
            print_line(&kind.name(), connections, &measured, signatures);
            let judged = most.filter(|_| connections == 64);
            if let Some(most) = judged.filter(|most| signatures > *most) {
                println!("  MISSED: {signatures:.2} signatures, at most {most}");
                missed = true;
            }
        }
    }
    server.stop();
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn argument(name: &str) -> Option<u64> {
    std::env::args().skip_while(|argument| argument != name).nth(1)?.parse().ok()
}

fn print_line(name: &str, connections: usize, measured: &Measured, signatures: f64) {
    println!(
        "{name:<16} {connections:>5} {:>9.0} {:>9.2} {:>9.2} {:>9.0} {signatures:>11.2} {:>9.0}",
        measured.per_second,
        measured.p50 * 1e3,
        measured.p99 * 1e3,
        measured.cpu * 1e6,
        measured.growth
    );
}

/// CPU seconds of one RSA-2048 signature over claims of ordinary size, by the code that the server uses.
fn signature_cost() -> f64 {
    const COUNT: u32 = 600;
    let pem = PrivateKeyPem::generate(Algorithm::Rs256).expect("a key");
    let id = KeyId::parse("bench").expect("an id");
    let key = SigningKey::from_pem(id, Algorithm::Rs256, &pem).expect("a key");
    let claims = serde_json::json!({ "iss": "https://idp.tail.test", "sub": "userid:1001", "aud": "rs", "exp": 1, "iat": 1,
        "nonce": "n", "name": "Alice Example", "email": "alice@example.com", "groups": ["group:eng"] });
    let sign = |times| {
        for _ in 0..times {
            key.sign(TokenType::IdToken, &claims).expect("a signature");
        }
    };
    sign(COUNT / 4);
    let before = thread_cpu();
    sign(COUNT);
    thread_cpu().saturating_sub(before).as_secs_f64() / f64::from(COUNT)
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let number = |part: i64| u64::try_from(part).expect("no CPU time is negative");
    Duration::from_secs(number(time.tv_sec)) + Duration::from_nanos(number(time.tv_nsec))
}

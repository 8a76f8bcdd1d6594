//! Before each acknowledgement lies a completed fdatasync of the database file: shown by a trace of the system calls.

use std::process::Command;

use crate::child::{Task, arguments, tell};

/// What the trace shows, in the order in which the system calls ended, with where they began.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// A write to the database file.
    Write,
    /// A sync of the database file that succeeded.
    Sync,
    /// A line of the child: an acknowledgement, or the begin of them.
    Said(String),
}

#[test]
fn an_fdatasync_lies_between_each_write_and_its_acknowledgement() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let output = folder.path().join("trace");
    let (own, child) = arguments();
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-y",
        "-qq",
        "-s",
        "64",
        "-e",
        "trace=fdatasync,fsync,pwrite64,pwritev,write,writev",
        "-o",
    ]);
    strace.arg(&output).arg(own).args(child);
    tell(&mut strace, Task::Sequence, folder.path(), 0);
    let Ok(ran) = strace.output() else {
        panic!("strace is missing: apt-get install strace (README and .ci/run install it)")
    };
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    let database = folder.path().join("db/db").display().to_string();
    let calls = read(&std::fs::read_to_string(&output).unwrap(), &database);
    let begin = calls.iter().position(|call| call.what == What::Said("BEGIN".to_owned())).unwrap();
    let mut last = calls[begin].ended;
    let mut acknowledged = 0;
    for call in &calls[begin..] {
        let What::Said(line) = &call.what else { continue };
        if !line.starts_with("ACK") {
            continue;
        }
        acknowledged += 1;
        let between = |what: &What| {
            calls
                .iter()
                .filter(move |c| c.ended > last && c.ended < call.began && c.what == *what)
                .collect::<Vec<_>>()
        };
        let (writes, syncs) = (between(&What::Write), between(&What::Sync));
        let written = writes.iter().map(|write| write.ended).max();
        let written = written.unwrap_or_else(|| panic!("nothing was written before {line:?}"));
        let synced = syncs.iter().any(|sync| sync.began > written);
        assert!(synced, "no fdatasync of {database} between its last write and {line:?}");
        last = call.ended;
    }
    assert_eq!(acknowledged, 60);
    assert!(calls.iter().any(|call| call.what == What::Said("END".to_owned())));
}

/// Reads a trace of strace with process ids and file names.
fn read(trace: &str, database: &str) -> Vec<Call> {
    let mut open: Vec<(&str, usize, String)> = Vec::new();
    let mut calls = Vec::new();
    for (place, line) in trace.lines().enumerate() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            open.push((process, place, start.to_owned()));
            continue;
        }
        let (began, text) = if rest.starts_with("<... ") {
            let index = open.iter().position(|(of, ..)| *of == process).unwrap();
            let (_, began, start) = open.swap_remove(index);
            (began, format!("{start}{}", rest.split_once("resumed>").unwrap().1))
        } else {
            (place, rest.to_owned())
        };
        calls.extend(understand(&text, database).map(|what| Call { began, ended: place, what }));
    }
    calls
}

fn understand(text: &str, database: &str) -> Option<What> {
    let (name, rest) = text.split_once('(')?;
    let on_database = rest.split_once('<')?.1.starts_with(&format!("{database}>"));
    match name {
        "pwrite64" | "pwritev" | "write" | "writev" if on_database => Some(What::Write),
        "fdatasync" | "fsync" if on_database && text.ends_with("= 0") => Some(What::Sync),
        "write" if rest.starts_with("1<") => {
            let said = rest.split_once('"')?.1.split_once("\\n\"")?.0;
            Some(What::Said(said.to_owned()))
        }
        _ => None,
    }
}

#[test]
fn the_trace_is_read_as_it_happened() {
    let trace = "\
10 pwrite64(5</s/db/db>, \"x\"..., 9, 0 <unfinished ...>
11 write(1<pipe:[1]>, \"ACK 1\\n\", 6) = 6
10 <... pwrite64 resumed>) = 9
12 fdatasync(6</s/db/db>) = 0
12 fdatasync(6</s/db/db>) = -1 EIO (Input/output error)
12 fdatasync(7</s/db/db.other>) = 0";
    let calls: Vec<_> = read(trace, "/s/db/db").into_iter().map(|c| (c.began, c.ended, c.what)).collect();
    assert_eq!(calls, [(1, 1, What::Said("ACK 1".to_owned())), (0, 2, What::Write), (3, 3, What::Sync)]);
}

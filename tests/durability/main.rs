//! What was acknowledged is durable: traces of system calls, `kill -9` under load, torn files, full disks.

mod figures;
mod sample;

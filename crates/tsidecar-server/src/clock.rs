//! The wall clock, in the whole seconds of [`UnixTime`]; the only file that reads it.
//!
//! Time moves without sleeping in tests: builds with `debug_assertions` add the offset in the file named by
//! `TSIDECAR_TEST_CLOCK`, read again at each call. Release builds do not contain it.

use std::time::{SystemTime, UNIX_EPOCH};

use tsidecar_oauth::time::UnixTime;

/// Tells the time.
#[derive(Clone, Debug)]
pub struct Clock {
    #[cfg(debug_assertions)]
    offset_file: Option<std::path::PathBuf>,
}

impl Clock {
    /// The clock of this machine.
    pub fn system() -> Self {
        Self {
            #[cfg(debug_assertions)]
            offset_file: std::env::var_os("TSIDECAR_TEST_CLOCK").map(Into::into),
        }
    }

    /// The current time. A clock before 1970 reads as 1970.
    pub fn now(&self) -> UnixTime {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        #[cfg(debug_assertions)]
        let now = now.saturating_add_signed(self.offset());
        UnixTime::from_secs(now)
    }

    /// The offset in seconds, which may be negative; zero while the file is missing or being written.
    #[cfg(debug_assertions)]
    fn offset(&self) -> i64 {
        let text = self.offset_file.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_move_the_clock_by_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock { offset_file: Some(folder.path().join("clock")) };
        let plain = clock.now();
        std::fs::write(folder.path().join("clock"), "86400\n").unwrap();
        assert!(clock.now().as_secs() >= plain.as_secs() + 86_400);
        std::fs::write(folder.path().join("clock"), "-86400").unwrap();
        assert!(clock.now() < plain);
        std::fs::write(folder.path().join("clock"), "").unwrap();
        assert!(clock.now() >= plain);
    }
}

//! The exit codes of every command, in one table; `tsidecar --help` prints it.

use std::process::ExitCode;

use crate::store::EXIT_STORE_FAILED;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// It could not be done, or a check of `doctor` failed.
    Failed,
    /// The arguments make no sense.
    Usage,
    /// The configuration is not valid.
    Config,
    /// The daemon does not answer on `admin.sock`, or we may not ask it.
    Unreachable,
    /// The state folder is damaged, locked, of a newer version, or open to others.
    State,
}

/// The table as `--help` prints it.
pub const TABLE: &str = "\
Exit codes:
  0   done
  1   could not be done; for `doctor`: a check failed
  2   the arguments make no sense
  3   the configuration is not valid
  4   the daemon does not answer on its admin socket, or you may not ask it (be root)
  5   the state folder is damaged, locked by another daemon, of a newer version, or open to others
  74  writing the database failed; the daemon ends, because nothing could be acknowledged any more";

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Unreachable => 4,
            Self::State => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The one code that is not answered by a command, but by the committer when it ends the process.
const _: () = assert!(EXIT_STORE_FAILED == 74);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_code() {
        for exit in [Exit::Ok, Exit::Failed, Exit::Usage, Exit::Config, Exit::Unreachable, Exit::State] {
            assert!(TABLE.contains(&format!("\n  {} ", exit.code())), "{exit:?}");
        }
    }
}

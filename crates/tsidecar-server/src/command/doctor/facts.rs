//! Gathers what `doctor` judges. Whatever cannot be had is kept as the reason why.

use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tsidecar_localapi::{Client, Daemon as Tailscaled, Destination, Prefs, ServeConfig, Status, WhoIs};
use tsidecar_oauth::time::UnixTime;

use crate::clock::Clock;
use crate::command::ask::{CommandError, Daemon};
use crate::config::{Config, ConfigError};
use crate::endpoint::admin::shape::StatusAnswer;
use crate::state::{Look, look};

/// Everything that was seen.
pub(super) struct Facts {
    /// The configuration file.
    pub(super) file: PathBuf,
    /// Its mode, when it is there.
    pub(super) file_mode: Option<u32>,
    /// The configuration; with something wrong, as far as it can be used.
    pub(super) config: Config,
    /// Why it cannot be used as it is.
    pub(super) config_error: Option<ConfigError>,
    /// What tailscaled says.
    pub(super) tailscaled: Result<Tailnet, String>,
    /// What our daemon says.
    pub(super) daemon: Result<StatusAnswer, CommandError>,
    /// The state folder.
    pub(super) state: Look,
    /// Which of the sockets are there; `None` when that cannot be seen.
    pub(super) sockets: Vec<(PathBuf, Option<bool>)>,
    /// The clock of this machine.
    pub(super) now: UnixTime,
    /// The peer that was asked about, and what whois says of it.
    pub(super) peer: Option<(IpAddr, Result<Option<WhoIs>, String>)>,
}

/// What tailscaled says.
pub(super) struct Tailnet {
    pub(super) status: Status,
    pub(super) prefs: Prefs,
    pub(super) serve: ServeConfig,
    pub(super) daemon: Option<Tailscaled>,
}

impl Facts {
    /// Looks at everything.
    pub(super) async fn gather(file: &Path, peer: Option<IpAddr>) -> Self {
        let (config, config_error) = match Config::check(file) {
            Ok(config) => (config, None),
            Err(error) => (Config::options(file).unwrap_or_default(), Some(error)),
        };
        let client = Client::new(&config.tailscale.socket);
        let tailscaled = ask_tailscaled(&client).await.map_err(|error| error.to_string());
        let peer = match peer {
            Some(address) => {
                let answer = client.whois(address, Destination::Host).await;
                Some((address, answer.map_err(|error| error.to_string())))
            }
            None => None,
        };
        let listen = &config.listen;
        let mut sockets = vec![&listen.socket];
        sockets.extend(listen.services.iter().map(|service| &service.socket));
        sockets.extend(listen.proxies.iter().map(|proxy| &proxy.socket));
        Self {
            file: file.to_owned(),
            file_mode: std::fs::metadata(file).ok().map(|metadata| metadata.permissions().mode() & 0o7777),
            daemon: Daemon::at(listen.admin_socket.clone()).get("/admin/status").await,
            state: look(&config.state_dir),
            sockets: sockets.into_iter().map(|path| (path.clone(), is_socket(path))).collect(),
            now: Clock::system().now(),
            config,
            config_error,
            tailscaled,
            peer,
        }
    }
}

async fn ask_tailscaled(client: &Client) -> Result<Tailnet, tsidecar_localapi::Error> {
    Ok(Tailnet {
        status: client.status().await?,
        prefs: client.prefs().await?,
        serve: client.serve_config().await?,
        daemon: client.daemon(),
    })
}

fn is_socket(path: &Path) -> Option<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Some(metadata.file_type().is_socket()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

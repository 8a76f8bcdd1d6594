//! Whether others reach our sockets through tailscaled, by what it serves and how it is set (attack A35). Pure, but for
//! looking at the files that a forward names.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use tsidecar_localapi::{Prefs, ServeConfig, Target, TargetKind};
use tsidecar_oauth::uri::Issuer;

use crate::{config::TailscaleSsh, tailnet::Unready};

/// What of ours must not be exposed.
#[derive(Clone, Debug)]
pub struct Boundary {
    /// Our sockets, all of them.
    pub sockets: Vec<PathBuf>,
    /// Our origin.
    pub issuer: Issuer,
    /// Whether Tailscale SSH counts as exposure.
    pub tailscale_ssh: TailscaleSsh,
}

impl Boundary {
    /// Judges what tailscaled serves and how it is set.
    ///
    /// # Errors
    /// [`Unready::TcpForward`], [`Unready::SharedOrigin`] or [`Unready::TailscaleSsh`], the first that is found.
    pub fn judge(&self, config: &ServeConfig, prefs: &Prefs) -> Result<(), Unready> {
        let found = config.targets().find_map(|target| self.judge_target(&target));
        match found {
            Some(found) => Err(found),
            None if prefs.run_ssh && self.tailscale_ssh == TailscaleSsh::Refuse => Err(Unready::TailscaleSsh),
            None => Ok(()),
        }
    }

    fn judge_target(&self, target: &Target<'_>) -> Option<Unready> {
        match target.kind {
            TargetKind::TcpForward { port, handler } => {
                let path = Path::new(handler.tcp_forward.trim().strip_prefix("unix:")?);
                let socket = self.sockets.iter().find(|socket| leads_to(path, socket))?;
                let service = target.place.service.map(str::to_owned);
                Some(Unready::TcpForward { port, service, socket: socket.clone() })
            }
            TargetKind::Web { host_port, mount, .. } => {
                let ours = self.issuer.host_and_port();
                let shared = host_port.eq_ignore_ascii_case(&ours) && !matches!(mount, "/" | "");
                shared.then(|| Unready::SharedOrigin { host_port: ours, mount: mount.to_owned() })
            }
        }
    }
}

/// Whether a path that tailscaled opens is one of our sockets, under whatever name. What cannot be looked at from here,
/// or has no fixed place, is ours when it has the name of ours.
fn leads_to(path: &Path, socket: &Path) -> bool {
    if path == socket {
        return true;
    }
    let same_name = path.file_name() == socket.file_name();
    if path.is_relative() {
        return same_name;
    }
    match (fs::metadata(path), fs::metadata(socket)) {
        (Ok(theirs), Ok(ours)) => (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()),
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => false,
        _ => same_name,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use serde_json::{Value, json};

    use super::*;

    fn boundary(socket: &Path) -> Boundary {
        Boundary {
            sockets: vec!["/run/tsidecar-test-nowhere/admin.sock".into(), socket.to_owned()],
            issuer: Issuer::parse("https://idp.tail.test").unwrap(),
            tailscale_ssh: TailscaleSsh::Refuse,
        }
    }

    fn judge(boundary: &Boundary, config: Value) -> Result<(), Unready> {
        boundary.judge(&serde_json::from_value(config).unwrap(), &Prefs::default())
    }

    fn forward(path: &str) -> Value {
        json!({"TCP": {"8443": {"TCPForward": path}}})
    }

    #[test]
    fn a_tcp_forward_to_one_of_ours_is_found_in_every_part() {
        let ours = Path::new("/run/tsidecar-test-nowhere/serve.sock");
        let boundary = boundary(ours);
        let handler =
            json!({"TCPForward": format!("unix:{}", ours.display()), "TerminateTLS": "idp.tail.test"});
        let found = |service: Option<&str>| {
            Err(Unready::TcpForward {
                port: 8443,
                service: service.map(str::to_owned),
                socket: ours.to_owned(),
            })
        };
        assert_eq!(judge(&boundary, json!({"TCP": {"8443": handler}})), found(None));
        let service = json!({"Services": {"svc:x": {"TCP": {"8443": handler}}}});
        assert_eq!(judge(&boundary, service.clone()), found(Some("svc:x")));
        assert_eq!(judge(&boundary, json!({"Foreground": {"s": {"TCP": {"8443": handler}}}})), found(None));
        assert_eq!(judge(&boundary, json!({"Foreground": {"s": service}})), found(Some("svc:x")));
        let admin = judge(&boundary, forward("unix:/run/tsidecar-test-nowhere/admin.sock"));
        assert!(matches!(admin, Err(Unready::TcpForward { .. })));
    }

    #[test]
    fn other_forwards_are_none_of_our_business() {
        let boundary = boundary(Path::new("/run/tsidecar-test-nowhere/serve.sock"));
        for other in ["127.0.0.1:22", "unix:/run/other.sock", "unix:/run/other/serve.sock", "localhost:443"] {
            assert_eq!(judge(&boundary, forward(other)), Ok(()), "{other}");
        }
        assert_eq!(judge(&boundary, json!({})), Ok(()));
    }

    #[test]
    fn no_other_name_hides_our_socket() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("serve.sock");
        let _listener = UnixListener::bind(&ours).unwrap();
        let boundary = boundary(&ours);
        let folder = folder.path();
        symlink(folder, folder.join("loop")).unwrap();
        symlink(&ours, folder.join("link.sock")).unwrap();
        fs::hard_link(&ours, folder.join("hard.sock")).unwrap();
        fs::create_dir(folder.join("sub")).unwrap();
        for name in
            ["serve.sock", "loop/serve.sock", "link.sock", "hard.sock", "sub/../serve.sock", "./serve.sock"]
        {
            let path = format!("unix:{}/{name}", folder.display());
            assert!(judge(&boundary, forward(&path)).is_err(), "{name}");
        }
        assert!(judge(&boundary, forward(&format!("unix://{}", ours.display()))).is_err());
        assert!(judge(&boundary, forward(" unix:serve.sock")).is_err(), "where tailscaled stands is unknown");
        let process = format!("unix:/proc/{}/root{}", std::process::id(), ours.display());
        assert!(judge(&boundary, forward(&process)).is_err());
    }

    /// Root sees everything, so the folder that cannot be entered is a file here.
    #[test]
    fn what_cannot_be_looked_at_is_ours_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        fs::write(&closed, "").unwrap();
        let boundary = boundary(Path::new("/run/tsidecar-test-nowhere/serve.sock"));
        assert!(judge(&boundary, forward(&format!("unix:{}/serve.sock", closed.display()))).is_err());
        assert!(judge(&boundary, forward(&format!("unix:{}/other.sock", closed.display()))).is_ok());
    }

    #[test]
    fn nothing_else_lives_on_our_origin() {
        let boundary = boundary(Path::new("/run/tsidecar-test-nowhere/serve.sock"));
        let web = |host: &str, mount: &str| {
            let handler = json!({"Proxy": "unix:/run/tsidecar-test-nowhere/serve.sock"});
            json!({"Web": {host: {"Handlers": {"/": handler, mount: {"Proxy": "http://127.0.0.1:3000"}}}}})
        };
        let shared = |mount: &str| {
            Err(Unready::SharedOrigin { host_port: "idp.tail.test:443".into(), mount: mount.into() })
        };
        assert_eq!(judge(&boundary, web("idp.tail.test:443", "/")), Ok(()));
        assert_eq!(judge(&boundary, web("idp.tail.test:443", "/app")), shared("/app"));
        assert_eq!(judge(&boundary, web("IDP.tail.test:443", "/app/")), shared("/app/"));
        assert_eq!(
            judge(&boundary, json!({"Foreground": {"s": web("idp.tail.test:443", "/a")}})),
            shared("/a")
        );
        let service = json!({"Services": {"svc:idp": web("idp.tail.test:443", "/a")}});
        assert_eq!(judge(&boundary, service), shared("/a"));
        assert_eq!(
            judge(&boundary, web("idp.tail.test:8443", "/app")),
            Ok(()),
            "another port, another origin"
        );
        assert_eq!(judge(&boundary, web("other.tail.test:443", "/app")), Ok(()));
    }

    #[test]
    fn tailscale_ssh_counts_unless_it_is_trusted() {
        let mut boundary = boundary(Path::new("/run/tsidecar-test-nowhere/serve.sock"));
        let prefs = Prefs { run_ssh: true, ..Prefs::default() };
        assert_eq!(boundary.judge(&ServeConfig::default(), &prefs), Err(Unready::TailscaleSsh));
        boundary.tailscale_ssh = TailscaleSsh::Trusted;
        assert_eq!(boundary.judge(&ServeConfig::default(), &prefs), Ok(()));
    }
}

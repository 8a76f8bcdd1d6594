//! Whether others reach our sockets through tailscaled, by what it serves and how it is set (attack A35). Pure, but for
//! looking at the files that a forward names.

use std::{
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
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
    /// [`Unready::TcpForward`], [`Unready::LooseForward`], [`Unready::SharedOrigin`] or [`Unready::TailscaleSsh`], the first that is found.
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
                let service = target.place.service.map(str::to_owned);
                if let Some(socket) = self.sockets.iter().find(|socket| leads_to(path, socket)) {
                    return Some(Unready::TcpForward { port, service, socket: socket.clone() });
                }
                let path = path.to_owned();
                (!is_fixed(&path)).then_some(Unready::LooseForward { port, service, path })
            }
            TargetKind::Web { host_port, mount, .. } => {
                let ours = self.issuer.host_and_port();
                let shared = host_port.eq_ignore_ascii_case(&ours) && !matches!(mount, "/" | "");
                shared.then(|| Unready::SharedOrigin { host_port: ours, mount: mount.to_owned() })
            }
        }
    }
}

/// Whether a path that tailscaled opens is one of our sockets now, under whatever name.
fn leads_to(path: &Path, socket: &Path) -> bool {
    let same_file = || {
        let (theirs, ours) = (fs::metadata(path).ok()?, fs::metadata(socket).ok()?);
        Some((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
    };
    path == socket || same_file().unwrap_or(false)
}

/// Whether nobody but root can make a path lead to one of our sockets, today or tomorrow: every folder on the way, links
/// followed as the kernel follows them, is root's alone. What systemd hides from us (homes, `/tmp`, other processes) is not
/// what tailscaled sees there, so it counts as loose; so does a relative path, since nobody knows where tailscaled stands.
fn is_fixed(path: &Path) -> bool {
    let mut rest: Vec<OsString> = steps(path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    if !path.is_absolute() {
        return false;
    }
    while let Some(step) = rest.pop() {
        if step == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&step);
        if HIDDEN.iter().any(|hidden| next == Path::new(hidden)) {
            return false;
        }
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() && links < MOST_LINKS => {
                links += 1;
                let Ok(target) = fs::read_link(&next) else { return false };
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                rest.extend(steps(&target));
            }
            Ok(found) if found.is_dir() && is_roots_alone(&found) => here = next,
            Ok(found) => return !found.is_symlink() && !found.is_dir(),
            // Only root can put something there.
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
        }
    }
    true
}

/// The steps of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(named).collect()
}

fn is_roots_alone(folder: &Metadata) -> bool {
    folder.uid() == 0 && folder.mode() & 0o022 == 0
}

/// Folders of which our unit shows us a version of our own, or nothing (`ProtectHome=`, `PrivateTmp=`, `ProtectProc=`).
const HIDDEN: [&str; 6] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp", "/proc"];

/// As many symbolic links as Linux follows on one path.
const MOST_LINKS: u32 = 40;

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

    /// What somebody else than root can turn into a link to our socket is not fixed, wherever it leads now.
    #[test]
    fn a_forward_that_others_can_redirect_is_refused() {
        let boundary = boundary(Path::new("/run/tsidecar-test-nowhere/serve.sock"));
        let folder = tempfile::tempdir().unwrap();
        let below_tmp = format!("unix:{}/app.sock", folder.path().display());
        for loose in [
            below_tmp.as_str(),
            "unix:/tmp/app.sock",
            "unix:/home/alice/app.sock",
            "unix:/root/app.sock",
            "unix:/run/user/1000/app.sock",
            "unix:/proc/1/root/run/tsidecar/serve.sock",
            "unix:/run/../tmp/app.sock",
            "unix:app.sock",
        ] {
            let judged = judge(&boundary, forward(loose));
            assert!(matches!(judged, Err(Unready::LooseForward { port: 8443, .. })), "{loose} {judged:?}");
        }
    }

    #[test]
    fn links_are_followed_as_the_kernel_does() {
        assert!(is_fixed(Path::new("/usr/lib/../lib/x.sock")));
        // Debian: /var/run is a link to /run, and /var/lock leads to a folder that everybody may write to.
        assert!(is_fixed(Path::new("/var/run/other/x.sock")));
        assert!(!is_fixed(Path::new("/dev/shm/x.sock")));
        let folder = tempfile::tempdir().unwrap();
        symlink("/usr", folder.path().join("link")).unwrap();
        assert!(!is_fixed(&folder.path().join("link/x.sock")), "whoever owns the folder may change the link");
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

//! Where our sockets may lie, how they are bound, and which role an inherited one has.
//!
//! tailscaled opens sockets for others: Tailscale SSH forwards to any unix socket below the home of the SSH user, `/tmp`
//! and `/run/user`. So none of ours lies there, and nobody else may write to the folders on the way to one.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Component, Path, PathBuf},
};

use tsidecar_oauth::id::IdError;

use crate::{
    config::ListenConfig,
    peer::{Door, ListenerContext, Role},
};

/// Every socket that the configuration names, with its role and door. Nothing is open yet.
#[derive(Debug)]
pub struct Plan {
    sockets: Vec<(ListenerContext, Door)>,
    unsafe_paths: UnsafePaths,
}

/// A socket that listens.
#[derive(Debug)]
pub struct Bound {
    /// Its role and name.
    pub context: ListenerContext,
    /// Whom it admits.
    pub door: Door,
    /// The socket, not blocking.
    pub listener: UnixListener,
    /// Removes the file at the end when we made it; nothing for an inherited one.
    pub file: Option<SocketFile>,
}

/// The file of a socket that we bound. Dropping it removes the file, unless another took its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Whether folders that others may enter by way of tailscaled are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnsafePaths {
    Refuse,
    Warn,
}

/// Why the sockets cannot be opened. Ends the start.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Not a path that a socket can have.
    #[error("{}: a socket needs an absolute path of at most 107 bytes, without `..`", .0.display())]
    Path(PathBuf),
    /// The path of a proxy's socket is part of a name.
    #[error("{}: the path of a proxy's socket {source}", .path.display())]
    Name {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: IdError,
    },
    /// Two roles, one path.
    #[error("{}: two sockets of [listen] have this path; each role needs its own", .0.display())]
    Twice(PathBuf),
    /// Below a folder from which tailscaled serves others.
    #[error(
        "{}: a socket below {} could be reached through Tailscale SSH; choose a folder such as /run/tsidecar ([listen] allow_unsafe_path = true is for tests only)",
        .path.display(), .below.display()
    )]
    Unsafe {
        /// The path.
        path: PathBuf,
        /// The folder that is refused.
        below: PathBuf,
    },
    /// Somebody else may replace the socket.
    #[error(
        "{}: {} may be written by others than its owner, who could put a socket of their own there; chmod go-w it",
        .path.display(), .folder.display()
    )]
    Writable {
        /// The path.
        path: PathBuf,
        /// The folder, one of those on the way.
        folder: PathBuf,
    },
    /// Somebody else's folder.
    #[error(
        "{}: {} belongs to uid {owner}, who could put a socket of their own there; it must belong to root or to us",
        .path.display(), .folder.display()
    )]
    Owner {
        /// The path.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Something that is no socket has the path.
    #[error("{}: this file is no socket, so it is not removed; choose another path or move it", .0.display())]
    NoSocket(PathBuf),
    /// Another process listens there.
    #[error("{}: another process answers here already; is tsidecar running?", .0.display())]
    InUse(PathBuf),
    /// The system refused something.
    #[error("{}: {doing}: {source}", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An inherited socket without a path.
    #[error(
        "an inherited socket has no path, so its role is unknown; ListenStream= must name a path of [listen]"
    )]
    Unnamed,
    /// An inherited socket that `[listen]` does not name.
    #[error(
        "{}: this inherited socket has no role; ListenStream= must name a path of [listen]", .0.display()
    )]
    Unknown(PathBuf),
    /// An inherited path twice.
    #[error("{}: this socket was inherited twice", .0.display())]
    InheritedTwice(PathBuf),
}

impl Plan {
    /// Lists the sockets of a configuration.
    ///
    /// # Errors
    /// [`PlaceError::Name`] for the path of a proxy's socket that cannot be part of a name.
    pub fn new(listen: &ListenConfig) -> Result<Self, PlaceError> {
        let tailscaled = Door::Tailscaled { uid: listen.tailscaled_uid };
        let administrator = Door::Administrator { uid: listen.admin_uid };
        let services = listen.services.iter();
        let proxies = listen.proxies.iter();
        let all = [
            (Role::Host, &listen.socket, tailscaled),
            (Role::Admin, &listen.admin_socket, administrator),
            (Role::Ops, &listen.ops_socket, administrator),
        ]
        .into_iter()
        .chain(services.map(|service| (Role::Service(service.name.clone()), &service.socket, tailscaled)))
        .chain(proxies.map(|proxy| (Role::Proxy, &proxy.socket, Door::Proxy { uid: proxy.uid })));
        let mut sockets = Vec::new();
        for (role, path, door) in all {
            let context = ListenerContext::new(role, path.clone())
                .map_err(|source| PlaceError::Name { path: path.clone(), source })?;
            sockets.push((context, door));
        }
        let unsafe_paths = if listen.allow_unsafe_path { UnsafePaths::Warn } else { UnsafePaths::Refuse };
        Ok(Self { sockets, unsafe_paths })
    }

    /// The paths of all sockets.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.sockets.iter().map(|(context, _)| context.path().to_owned()).collect()
    }

    /// Looks, and touches nothing, whether [`Self::open`] would take every place, as far as its folder is there already and
    /// whoever runs this.
    ///
    /// # Errors
    /// [`PlaceError::Unsafe`], [`PlaceError::Writable`] and [`PlaceError::Path`].
    pub fn look(&self) -> Result<(), PlaceError> {
        let refused = refused_folders(&fs::read_to_string("/etc/passwd").unwrap_or_default());
        if self.unsafe_paths == UnsafePaths::Warn {
            return Ok(());
        }
        self.sockets.iter().map(|(context, _)| context.path()).try_for_each(|path| match real_path(path) {
            Ok(real) => check(&real, path, &refused),
            Err(PlaceError::Io { .. }) => refuse_below(path, path, &refused),
            Err(error) => Err(error),
        })
    }

    /// Opens every socket: inherited ones get their role by their path, the others are bound.
    ///
    /// Nothing is bound before every place was found good. What is refused only with `allow_unsafe_path = false` is logged as a
    /// warning otherwise.
    ///
    /// # Errors
    /// [`PlaceError`], all variants.
    pub fn open(self, inherited: Vec<UnixListener>) -> Result<Vec<Bound>, PlaceError> {
        if self.unsafe_paths == UnsafePaths::Warn {
            tracing::warn!(
                "[listen] allow_unsafe_path = true: sockets may lie where others reach them; for tests only"
            );
        }
        let refused = refused_folders(&fs::read_to_string("/etc/passwd").unwrap_or_default());
        let mut planned: Vec<(PathBuf, ListenerContext, Door)> = Vec::new();
        for (context, door) in self.sockets {
            make_folder(context.path())?;
            let real = real_path(context.path())?;
            match check(&real, context.path(), &refused).and_then(|()| check_owner(&real, door)) {
                Err(error) if self.unsafe_paths == UnsafePaths::Warn => {
                    tracing::warn!(%error, "this socket is not safe");
                }
                other => other?,
            }
            if planned.iter().any(|(other, ..)| *other == real) {
                return Err(PlaceError::Twice(real));
            }
            planned.push((real, context, door));
        }
        let mut given = by_path(inherited)?;
        let mut bound = Vec::new();
        for (real, context, door) in planned {
            let (listener, file) = match given.iter().position(|(path, _)| *path == real) {
                Some(position) => (given.swap_remove(position).1, None),
                None => bind(&real, door).map(|(listener, file)| (listener, Some(file)))?,
            };
            let nonblocking = listener.set_nonblocking(true);
            nonblocking.map_err(|source| failed(&real, "make it non-blocking", source))?;
            bound.push(Bound { context, door, listener, file });
        }
        match given.pop() {
            Some((path, _)) => Err(PlaceError::Unknown(path)),
            None => Ok(bound),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.inode) {
            // Whoever starts next removes what is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The folders below which nothing of ours may listen: those of Tailscale SSH, and every home. A home that is `/` would
/// refuse everything; `tailscale_ssh = "refuse"` covers it.
fn refused_folders(passwd: &str) -> Vec<PathBuf> {
    let homes = passwd.lines().filter_map(|line| line.split(':').nth(5));
    let homes = homes.filter(|home| home.starts_with('/')).map(Path::new);
    let fixed = ["/home", "/root", "/tmp", "/var/tmp", "/run/user"].map(Path::new);
    let mut folders = Vec::new();
    for folder in fixed.into_iter().chain(homes) {
        for form in [Some(folder.to_owned()), fs::canonicalize(folder).ok()].into_iter().flatten() {
            if form != Path::new("/") && !folders.contains(&form) {
                folders.push(form);
            }
        }
    }
    folders
}

/// The path without symbolic links on the way, and below a folder that exists.
fn real_path(path: &Path) -> Result<PathBuf, PlaceError> {
    let normal = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let plain = path.is_absolute() && path.components().all(normal);
    let (Some(folder), Some(name), true, true) =
        (path.parent(), path.file_name(), plain, path.as_os_str().len() <= LONGEST)
    else {
        return Err(PlaceError::Path(path.to_owned()));
    };
    let folder = fs::canonicalize(folder).map_err(|source| failed(path, "find its folder", source))?;
    Ok(folder.join(name))
}

/// Makes the folder of a socket, for us alone, when only the last part of it is missing.
fn make_folder(path: &Path) -> Result<(), PlaceError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !folder.is_dir() => {
            Err(failed(path, "make its folder", error))
        }
        _ => Ok(()),
    }
}

fn refuse_below(real: &Path, written: &Path, refused: &[PathBuf]) -> Result<(), PlaceError> {
    let below = refused.iter().find(|folder| real.starts_with(folder) || written.starts_with(folder));
    below.map_or(Ok(()), |below| Err(PlaceError::Unsafe { path: real.to_owned(), below: below.clone() }))
}

fn check(real: &Path, written: &Path, refused: &[PathBuf]) -> Result<(), PlaceError> {
    refuse_below(real, written, refused)?;
    for (steps, folder) in real.ancestors().skip(1).enumerate() {
        let mode = fs::metadata(folder).map_err(|source| failed(real, "look at its folders", source))?.mode();
        // In a sticky folder others cannot replace what is there; the one that holds the socket must be ours alone.
        let sticky = steps > 0 && mode & 0o1000 != 0;
        if mode & 0o022 != 0 && !sticky {
            return Err(PlaceError::Writable { path: real.to_owned(), folder: folder.to_owned() });
        }
    }
    Ok(())
}

/// The folder belongs to root, to us, or to whom the socket is for: its owner may put another socket in its place.
fn check_owner(real: &Path, door: Door) -> Result<(), PlaceError> {
    let Some(folder) = real.parent() else { return Ok(()) };
    let owner = fs::metadata(folder).map_err(|source| failed(real, "look at its folder", source))?.uid();
    let (Door::Tailscaled { uid } | Door::Proxy { uid } | Door::Administrator { uid }) = door;
    if [0, rustix::process::geteuid().as_raw(), uid].contains(&owner) {
        return Ok(());
    }
    Err(PlaceError::Owner { path: real.to_owned(), folder: folder.to_owned(), owner })
}

/// Names inherited sockets by their own path, never by their order.
fn by_path(inherited: Vec<UnixListener>) -> Result<Vec<(PathBuf, UnixListener)>, PlaceError> {
    let mut named: Vec<(PathBuf, UnixListener)> = Vec::new();
    for listener in inherited {
        let address = listener.local_addr().map_err(|_| PlaceError::Unnamed)?;
        let path = address.as_pathname().ok_or(PlaceError::Unnamed)?;
        let path = real_path(path)?;
        if named.iter().any(|(other, _)| *other == path) {
            return Err(PlaceError::InheritedTwice(path));
        }
        named.push((path, listener));
    }
    Ok(named)
}

fn bind(path: &Path, door: Door) -> Result<(UnixListener, SocketFile), PlaceError> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            UnixListener::bind(path)
        }
        other => other,
    }
    .map_err(|source| failed(path, "bind it", source))?;
    let file = fs::symlink_metadata(path).map_err(|source| failed(path, "look at it", source))?;
    let file = SocketFile { path: path.to_owned(), inode: (file.dev(), file.ino()) };
    let permissions = fs::Permissions::from_mode(mode(path, door));
    fs::set_permissions(path, permissions).map_err(|source| failed(path, "set its mode", source))?;
    Ok((listener, file))
}

/// Removes a socket at which nobody answers any more.
fn remove_stale(path: &Path) -> Result<(), PlaceError> {
    let file = fs::symlink_metadata(path).map_err(|source| failed(path, "look at it", source))?;
    if !file.file_type().is_socket() {
        return Err(PlaceError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| failed(path, "remove the stale socket", source))
        }
        Ok(_) => Err(PlaceError::InUse(path.to_owned())),
        // A full queue is one that somebody reads.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(PlaceError::InUse(path.to_owned())),
        Err(source) => Err(failed(path, "see whether anybody answers", source)),
    }
}

/// For ourselves and root alone. Where another uid must get in the mode lets everybody, and [`Door`] decides.
fn mode(path: &Path, door: Door) -> u32 {
    let (Door::Tailscaled { uid } | Door::Proxy { uid } | Door::Administrator { uid }) = door;
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        return 0o600;
    }
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    if folder.is_some_and(|folder| folder.mode() & 0o001 == 0 && folder.uid() != uid) {
        tracing::warn!(
            socket = %path.display(), uid,
            "this uid cannot enter the folder of its socket: chmod o+x the folder, or move the socket to one of its own"
        );
    }
    0o666
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> PlaceError {
    PlaceError::Io { path: path.to_owned(), doing, source }
}

/// What fits in `sockaddr_un`, less its final zero.
const LONGEST: usize = 107;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::config::{Config, ProxyListener, ServiceListener};

    fn listen(folder: &Path) -> ListenConfig {
        ListenConfig {
            socket: folder.join("serve.sock"),
            admin_socket: folder.join("admin.sock"),
            ops_socket: folder.join("ops.sock"),
            allow_unsafe_path: true,
            ..Config::default().listen
        }
    }

    fn open(listen: &ListenConfig, inherited: Vec<UnixListener>) -> Result<Vec<Bound>, PlaceError> {
        Plan::new(listen)?.open(inherited)
    }

    /// A folder that is refused by no rule: in the state folder of the system, since tests may not count on more.
    fn safe_folder() -> Option<TempDir> {
        let folder = tempfile::Builder::new().prefix("tsidecar-test-").tempdir_in("/run");
        folder.map_err(|error| eprintln!("SKIPPED: no folder under /run can be made ({error})")).ok()
    }

    #[test]
    fn sockets_are_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut listen = listen(&folder.path().join("new"));
        listen.proxies.push(ProxyListener { socket: folder.path().join("new/proxy.sock"), uid: 33 });
        listen.services.push(ServiceListener {
            name: "svc:login".parse().unwrap(),
            socket: folder.path().join("new/svc.sock"),
        });
        let bound = open(&listen, Vec::new()).unwrap();
        assert_eq!(bound.len(), 5);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&folder.path().join("new")), 0o700);
        for one in &bound {
            let wanted = if *one.context.role() == Role::Proxy { 0o666 } else { 0o600 };
            assert_eq!(mode(one.context.path()), wanted, "{:?}", one.context);
        }
        let doors: Vec<_> = bound.iter().map(|one| one.door).collect();
        let (root, admin) = (Door::Tailscaled { uid: 0 }, Door::Administrator { uid: 0 });
        assert_eq!(doors, [root, admin, admin, root, Door::Proxy { uid: 33 }]);
        drop(bound);
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0, "our files go with us");
    }

    #[test]
    fn only_a_socket_that_nobody_answers_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let listen = listen(folder.path());
        let mut first = open(&listen, Vec::new()).unwrap();
        let second = open(&listen, Vec::new());
        assert!(matches!(second, Err(PlaceError::InUse(_))), "{second:?}");
        // As after kill -9: the files stay, nobody answers.
        for one in &mut first {
            std::mem::forget(one.file.take());
        }
        drop(first);
        assert!(listen.socket.exists());
        let third = open(&listen, Vec::new()).unwrap();
        UnixStream::connect(&listen.socket).unwrap();
        drop(third);
        fs::write(&listen.socket, "precious").unwrap();
        let fourth = open(&listen, Vec::new());
        assert!(matches!(fourth, Err(PlaceError::NoSocket(_))), "{fourth:?}");
        assert_eq!(fs::read_to_string(&listen.socket).unwrap(), "precious");
    }

    #[test]
    fn a_socket_that_took_our_place_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let listen = listen(folder.path());
        let bound = open(&listen, Vec::new()).unwrap();
        fs::remove_file(&listen.socket).unwrap();
        let other = UnixListener::bind(&listen.socket).unwrap();
        drop(bound);
        assert!(listen.socket.exists());
        drop(other);
    }

    /// A36: descriptors in any order; a path that nobody configured; a path twice; no path at all.
    #[test]
    fn inherited_sockets_get_their_role_from_their_path() {
        let folder = tempfile::tempdir().unwrap();
        let listen = listen(folder.path());
        let own = |path: &Path| UnixListener::bind(path).unwrap();
        let given = vec![own(&listen.ops_socket), own(&listen.socket), own(&listen.admin_socket)];
        let bound = open(&listen, given).unwrap();
        for one in &bound {
            let address = one.listener.local_addr().unwrap();
            assert_eq!(address.as_pathname().unwrap(), one.context.path());
            assert!(one.file.is_none(), "what systemd made, systemd removes");
        }
        let twice = vec![bound[0].listener.try_clone().unwrap(), bound[0].listener.try_clone().unwrap()];
        assert!(matches!(open(&listen, twice), Err(PlaceError::InheritedTwice(_))));
        drop(bound);
        for path in [&listen.ops_socket, &listen.socket, &listen.admin_socket] {
            fs::remove_file(path).unwrap();
        }
        let stranger = own(&folder.path().join("other.sock"));
        let refused = open(&listen, vec![own(&listen.socket), stranger]);
        assert!(matches!(refused, Err(PlaceError::Unknown(_))), "{refused:?}");
        let (unnamed, _) = UnixStream::pair().unwrap();
        let refused = open(&listen, vec![UnixListener::from(std::os::fd::OwnedFd::from(unnamed))]);
        assert!(matches!(refused, Err(PlaceError::Unnamed)), "{refused:?}");
    }

    #[test]
    fn one_inherited_socket_leaves_the_others_to_us() {
        let folder = tempfile::tempdir().unwrap();
        let listen = listen(folder.path());
        let bound = open(&listen, vec![UnixListener::bind(&listen.socket).unwrap()]).unwrap();
        let ours: Vec<_> = bound.iter().map(|one| one.file.is_some()).collect();
        assert_eq!(ours, [false, true, true]);
    }

    /// A35: folders into which tailscaled forwards for others, by every name they have.
    #[test]
    fn unsafe_folders_are_refused() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnet:x:9:9::/:/bin/sh\nirc:x:39:39::/run/ircd:/bin/sh\nbad\nx:x:1:1:::\n";
        let refused = refused_folders(passwd);
        assert!(refused.contains(&"/run/ircd".into()) && !refused.contains(&"/".into()), "{refused:?}");
        for path in [
            "/home/alice/s.sock",
            "/home/s.sock",
            "/root/s.sock",
            "/tmp/s.sock",
            "/tmp/a/b/s.sock",
            "/var/tmp/s.sock",
            "/run/user/1000/s.sock",
            "/run/ircd/s.sock",
        ] {
            let result = check(Path::new(path), Path::new(path), &refused);
            assert!(matches!(result, Err(PlaceError::Unsafe { .. })), "{path} {result:?}");
        }
        for path in ["/run/ircd2/s.sock", "/homes/s.sock", "/run/tsidecar/s.sock"] {
            let result = check(Path::new(path), Path::new(path), &refused);
            assert!(!matches!(result, Err(PlaceError::Unsafe { .. })), "{path} {result:?}");
        }
    }

    #[test]
    fn symbolic_links_hide_nothing() {
        let (Some(safe), unsafe_folder) = (safe_folder(), tempfile::tempdir_in("/tmp").unwrap()) else {
            return;
        };
        let refuse = |folder: &Path| {
            let mut listen = listen(folder);
            listen.allow_unsafe_path = false;
            open(&listen, Vec::new())
        };
        // A good name that leads to a bad folder, and the other way round.
        symlink(unsafe_folder.path(), safe.path().join("link")).unwrap();
        let hidden = refuse(&safe.path().join("link"));
        assert!(matches!(hidden, Err(PlaceError::Unsafe { .. })), "{hidden:?}");
        symlink(safe.path(), unsafe_folder.path().join("link")).unwrap();
        let hidden = refuse(&unsafe_folder.path().join("link"));
        assert!(matches!(hidden, Err(PlaceError::Unsafe { .. })), "{hidden:?}");
        assert!(refuse(safe.path()).is_ok());
        let listen = listen(unsafe_folder.path());
        assert!(open(&listen, Vec::new()).is_ok(), "allow_unsafe_path is for tests such as this");
    }

    #[test]
    fn folders_that_others_may_write_are_refused() {
        let Some(safe) = safe_folder() else { return };
        let mut listen = listen(&safe.path().join("in"));
        listen.allow_unsafe_path = false;
        assert!(open(&listen, Vec::new()).is_ok());
        for (folder, mode) in [("in", 0o720), ("in", 0o702), ("in", 0o1702), ("", 0o702), ("", 0o770)] {
            let folder = safe.path().join(folder);
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let refused = open(&listen, Vec::new());
            assert!(matches!(refused, Err(PlaceError::Writable { .. })), "{mode:o} {refused:?}");
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        assert!(open(&listen, Vec::new()).is_ok());
    }

    #[test]
    fn folders_of_others_are_refused() {
        let (Some(safe), true) = (safe_folder(), rustix::process::geteuid().is_root()) else {
            eprintln!("SKIPPED: only root can give a folder away");
            return;
        };
        let theirs = safe.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        std::os::unix::fs::chown(&theirs, Some(33), None).unwrap();
        let mut listen = listen(safe.path());
        listen.allow_unsafe_path = false;
        listen.proxies.push(ProxyListener { socket: theirs.join("proxy.sock"), uid: 33 });
        assert!(open(&listen, Vec::new()).is_ok(), "a proxy's socket may lie in its own folder");
        listen.admin_socket = theirs.join("admin.sock");
        let refused = open(&listen, Vec::new());
        assert!(matches!(refused, Err(PlaceError::Owner { owner: 33, .. })), "{refused:?}");
    }

    #[test]
    fn paths_are_plain() {
        for bad in
            ["serve.sock", "./serve.sock", "/run/../tmp/s.sock", "/", "", &format!("/{}", "x".repeat(107))]
        {
            assert!(matches!(real_path(Path::new(bad)), Err(PlaceError::Path(_))), "{bad}");
        }
        let folder = tempfile::tempdir().unwrap();
        let mut listen = listen(folder.path());
        listen.ops_socket = listen.socket.clone();
        assert!(matches!(open(&listen, Vec::new()), Err(PlaceError::Twice(_))));
    }
}

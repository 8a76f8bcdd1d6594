//! rmcp's guard of addresses: names in a tailnet resolve to 100.64.0.0/10, which it refuses unless it is told otherwise.
//!
//! This is the one official SDK that does so. What stands in `mcp/examples/README.md` about it is tried here.

use rmcp::transport::auth::{AuthError, AuthorizationManager};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

/// Gives a name to an address of a tailnet and to one of loopback, in namespaces of its own, and goes on there.
const TAILNET: &str = r#"
set -e
ip link set lo up
ip addr add 100.64.0.22/32 dev lo
printf '127.0.0.1 localhost loop.tail.test\n100.64.0.22 mcp.tail.test\n' >"$1/hosts"
mount --bind "$1/hosts" /etc/hosts
exec "$2" --ignored --exact in_the_tailnet
"#;

#[test]
fn names_of_a_tailnet_need_the_switch() {
    let folder = std::env::temp_dir().join(format!("tsidecar-rmcp-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let this = std::env::current_exe().expect("this program");
    let ran = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", TAILNET, "sh"])
        .args([&folder, &this])
        .output()
        .expect("unshare");
    std::fs::remove_dir_all(&folder).expect("nothing left");
    let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
}

#[tokio::test]
#[ignore = "only in the namespaces of the test above"]
async fn in_the_tailnet() {
    let tailnet = Ipv4Addr::new(100, 64, 0, 22);
    let port = serve(tailnet);
    let named = format!("http://mcp.tail.test:{port}/mcp");
    assert!(issuer(AuthorizationManager::new(&named).await).await.is_err());
    let found = issuer(AuthorizationManager::new_allowing_private_addresses(&named).await).await;
    assert_eq!(found.ok().as_ref(), Some(&named));

    // With the address of the MCP server in place of its name no switch is needed, whatever the issuer's name resolves to.
    let literal = format!("http://100.64.0.22:{port}/mcp");
    assert_eq!(issuer(AuthorizationManager::new(&literal).await).await.ok(), Some(named));

    // A name for loopback is refused with the switch, too.
    let loopback = format!("http://loop.tail.test:{}/mcp", serve(Ipv4Addr::LOCALHOST));
    assert!(issuer(AuthorizationManager::new_allowing_private_addresses(&loopback).await).await.is_err());
}

/// The issuer that the client finds, if it may look for it. It has a path, so that none is found by guessing.
async fn issuer(manager: Result<AuthorizationManager, AuthError>) -> Result<String, AuthError> {
    let found = manager?.resolve_metadata().await?;
    assert!(found.source.is_discovered());
    Ok(found.metadata.issuer.expect("an issuer"))
}

/// A resource server and its authorization server: metadata is all that they say.
fn serve(address: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("an address");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, port)));
    port
}

fn answer(stream: TcpStream, port: u16) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let host =
        headers.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
    let origin = format!("http://{}", host.expect("a host"));
    let issuer = format!("http://mcp.tail.test:{port}");
    let (status, body) = if first.contains("oauth-protected-resource") {
        ("200 OK", format!(r#"{{"resource":"{origin}/mcp","authorization_servers":["{issuer}/mcp"]}}"#))
    } else if first.contains("oauth-authorization-server") {
        let endpoints =
            format!(r#""authorization_endpoint":"{issuer}/authorize","token_endpoint":"{issuer}/token""#);
        ("200 OK", format!(r#"{{"issuer":"{issuer}/mcp","response_types_supported":["code"],{endpoints}}}"#))
    } else {
        ("401 Unauthorized", String::new())
    };
    let challenge = format!(
        "WWW-Authenticate: Bearer resource_metadata=\"{origin}/.well-known/oauth-protected-resource/mcp\""
    );
    let head =
        format!("HTTP/1.1 {status}\r\n{challenge}\r\nContent-Type: application/json\r\nConnection: close");
    let _ = write!(&stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

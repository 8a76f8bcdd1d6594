// The daemon with resource servers, a recording front before it, and a host for documents of clients: what these tests share.
import { createHash } from 'node:crypto'
import { demonstrate } from '../../node/stage.mjs'
import { host } from './documents.mjs'
import { open } from './front.mjs'
import { byIntrospection, byJwt, listen } from './resource.mjs'

/** The client that is the second resource server, and asks about tokens. */
const SERVER = { client_id: 'notes-server', client_secret: 'a-secret-of-the-tests-only-0123456789' }

/**
 * Starts it all: `mcp` judges tokens by their signature, `notes` by introspection. `tables` gets the URLs of both and the host of
 * documents, and gives further configuration.
 */
export async function start(tables = () => '') {
  const front = await open()
  const [mcp, notes, documents] = await Promise.all([listen(), listen(), host()])
  const stop = async (daemon) => {
    for (const one of [front, mcp, notes, documents]) one.stop()
    await daemon?.stop()
  }
  const configuration =
    tables({ mcp: mcp.url, notes: notes.url, documents: documents.origin }) + documents.outbound + server() + resource(mcp.url, []) + resource(notes.url, [SERVER.client_id])
  const daemon = await demonstrate(front.origin, configuration).catch(async (error) => {
    await stop()
    throw error
  })
  front.forward(daemon.address)
  const metadata = await (await fetch(`${front.origin}/.well-known/oauth-authorization-server`)).json()
  mcp.protect(metadata, byJwt(metadata, mcp.url))
  notes.protect(metadata, byIntrospection(metadata, notes.url, SERVER))
  return { issuer: front.origin, metadata, front, mcp, notes, documents, log: daemon.log, stop: () => stop(daemon) }
}

const server = () => `
[[client]]
id = "${SERVER.client_id}"
name = "The server of notes"
secret_sha256 = "${digest(SERVER.client_secret)}"
redirect_uris = ["http://127.0.0.1/none"]
`

const resource = (url, servers) => `
[[resource]]
uri = "${url}"
scopes = ["read", "write"]
default_scopes = ["read"]
clients = ["*"]
servers = ${JSON.stringify(servers)}
access_token_lifetime = "1m"
`

/** Takes a registration back, as the client that it was told to may (RFC 7592 §2.3). */
export async function unregister({ registration_client_uri: uri, registration_access_token: token }) {
  const { status } = await fetch(uri, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } })
  if (status !== 204) throw new Error(`DELETE ${uri}: ${status}`)
}

/** SHA-256 in hexadecimal digits. */
export function digest(text) {
  return createHash('sha256').update(text).digest('hex')
}

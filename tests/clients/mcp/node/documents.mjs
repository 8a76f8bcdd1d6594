// A host for Client ID Metadata Documents, by the one name that the daemon may find on loopback (`[outbound] test_host`).
import { ca, serve } from '../../node/stage.mjs'

/** Serves nothing at first. */
export async function host() {
  const held = new Map()
  const fetched = []
  const site = await serve('client.test', (request, response) => {
    fetched.push(request.url)
    const document = held.get(request.url)
    if (!document) return response.writeHead(404).end()
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(document))
  })
  return {
    origin: site.origin,
    /** Every path that was asked for. */
    fetched,
    /** What the daemon must be told of this host. */
    outbound: `
[outbound]
test_host = "${new URL(site.origin).host}"
test_ca = "${ca}"
`,
    /** Puts a document, and gives the client id that it makes. */
    put(path, metadata) {
      const id = site.origin + path
      held.set(path, { client_id: id, client_name: 'A client with a document', ...metadata })
      return id
    },
    stop: site.stop,
  }
}

// A web application that is an MCP client: everything happens in the browser. Its settings come in the query of the first visit.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client'

const kept = (name) => JSON.parse(sessionStorage.getItem(name)) ?? undefined
const keep = (name, value) => sessionStorage.setItem(name, JSON.stringify(value ?? null))

class Provider {
  redirectUrl = `${location.origin}/callback`
  clientMetadata = { client_name: 'Notes in the browser', redirect_uris: [this.redirectUrl] }

  state() {
    const state = crypto.randomUUID()
    keep('state', state)
    return state
  }

  clientInformation = () => kept('client')
  saveClientInformation = (client) => keep('client', client)
  tokens = () => kept('tokens')
  saveTokens = (tokens) => keep('tokens', tokens)
  codeVerifier = () => kept('verifier')
  saveCodeVerifier = (verifier) => keep('verifier', verifier)
  discoveryState = () => kept('discovered')
  saveDiscoveryState = (discovered) => keep('discovered', discovered)
  redirectToAuthorization = (url) => location.assign(url)
}

const query = new URLSearchParams(location.search)

if (location.pathname !== '/callback') {
  keep('server', query.get('server'))
  if (query.has('client')) keep('client', { client_id: query.get('client'), issuer: query.get('issuer') })
}

const connection = () => new StreamableHTTPClientTransport(new URL(kept('server')), { authProvider: new Provider() })

async function whoami() {
  if (location.pathname === '/callback') {
    if (query.get('state') !== kept('state')) throw new Error('another state')
    await connection().finishAuth(query)
  }
  const client = new Client({ name: 'page', version: '1.0.0' })
  await client.connect(connection())
  const { content } = await client.callTool({ name: 'whoami', arguments: {} })
  document.getElementById('result').textContent = content[0].text
}

whoami().catch((error) => {
  // The browser is on its way to the authorization server.
  if (!(error instanceof UnauthorizedError)) document.getElementById('result').textContent = `failed: ${error.stack}`
})

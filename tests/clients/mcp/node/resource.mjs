// MCP servers of the official SDK on Express: protected resource metadata, its bearer middleware, and two ways to judge a token.
import { createServer } from 'node:http'
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js'
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js'
import { getOAuthProtectedResourceMetadataUrl, mcpAuthMetadataRouter } from '@modelcontextprotocol/sdk/server/auth/router.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import express from 'express'
import { createRemoteJWKSet, jwtVerify } from 'jose'

/** Judges tokens by signature, issuer, type and audience, with the issuer's keys. */
export function byJwt(metadata, resource) {
  const keys = createRemoteJWKSet(new URL(metadata.jwks_uri))
  const expected = { issuer: metadata.issuer, audience: resource, typ: 'at+jwt' }
  return async (token, now) => {
    const { payload } = await jwtVerify(token, keys, { ...expected, currentDate: now }).catch((error) => {
      throw new InvalidTokenError(error.message)
    })
    return payload
  }
}

/** Judges tokens by asking the issuer, as a client that is this resource (RFC 7662). */
export function byIntrospection(metadata, resource, { client_id, client_secret }) {
  const authorization = `Basic ${btoa(`${client_id}:${client_secret}`)}`
  return async (token, now) => {
    const body = new URLSearchParams({ token })
    const answer = await fetch(metadata.introspection_endpoint, { method: 'POST', headers: { authorization }, body })
    if (!answer.ok) throw new Error(`introspection: ${answer.status} ${await answer.text()}`)
    const claims = await answer.json()
    if (!claims.active) throw new InvalidTokenError('not active')
    if (claims.exp * 1000 <= now) throw new InvalidTokenError('expired')
    if (claims.iss !== metadata.issuer || claims.aud !== resource) throw new InvalidTokenError('for another resource')
    return claims
  }
}

/**
 * A resource server on a free port of loopback, its tools `whoami` for scope `read` and `write` for scope `write`. Its address is
 * known at once; it serves after `protect(metadata, judge)`.
 */
export async function listen({ scopes = ['read'] } = {}) {
  const app = express()
  const server = createServer(app)
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  const url = `http://127.0.0.1:${server.address().port}/mcp`
  let ahead = 0
  return {
    url,
    /** Judges the token of the next POST by a clock that is so many seconds ahead: no token lives less than a minute. */
    later: (seconds) => (ahead = seconds),
    /** Publishes this authorization server, and takes whom the judge takes. */
    protect(metadata, judge) {
      const resourceMetadataUrl = getOAuthProtectedResourceMetadataUrl(new URL(url))
      const bearer = (requiredScopes, clock = Date.now) => {
        const verifyAccessToken = async (token) => {
          const claims = await judge(token, new Date(clock()))
          const { client_id: clientId, exp: expiresAt, scope = '' } = claims
          return { token, clientId, expiresAt, scopes: scope.split(' '), resource: new URL(claims.aud), extra: claims }
        }
        return requireBearerAuth({ verifier: { verifyAccessToken }, requiredScopes, resourceMetadataUrl, expectedResource: url })
      }
      const fast = () => {
        const now = Date.now() + ahead * 1000
        ahead = 0
        return now
      }
      app.use(mcpAuthMetadataRouter({ oauthMetadata: metadata, resourceServerUrl: new URL(url), scopesSupported: scopes }))
      app.use('/mcp', readable, express.json())
      app.post('/mcp', bearer(['read'], fast), stepUp(bearer(['read', 'write'])), serveOnce)
      app.all('/mcp', bearer(['read']), (_, response) => response.status(405).set('Allow', 'POST').end())
    },
    stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Lets pages of any origin call the server. */
function readable(request, response, next) {
  response.set('Access-Control-Allow-Origin', '*').set('Access-Control-Expose-Headers', 'WWW-Authenticate')
  if (request.method !== 'OPTIONS') return next()
  response.set('Access-Control-Allow-Headers', 'Authorization, Content-Type, MCP-Protocol-Version')
  response.set('Access-Control-Allow-Methods', 'POST').status(204).end()
}

/** The tool `write` needs more than the others: 403 `insufficient_scope` names what. */
const stepUp = (bearer) => (request, response, next) => {
  const { method, params } = request.body ?? {}
  if (method === 'tools/call' && params?.name === 'write') bearer(request, response, next)
  else next()
}

async function serveOnce(request, response) {
  const server = new McpServer({ name: 'tests of tsidecar', version: '1.0.0' })
  const tell = async (_, { authInfo }) => ({ content: [{ type: 'text', text: JSON.stringify(authInfo.extra) }] })
  server.registerTool('whoami', { description: 'What the token says', inputSchema: {} }, tell)
  server.registerTool('write', { description: 'The same, for whoever may write', inputSchema: {} }, tell)
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined })
  response.on('close', () => server.close())
  await server.connect(transport)
  await transport.handleRequest(request, response, request.body)
}

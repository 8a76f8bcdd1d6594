// Pages of other origins, in Chromium: which endpoints they may read, with which headers, and where they may read nothing.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { launch } from '../../node/browser.mjs'
import { serve, start } from '../../node/stage.mjs'

const DOCUMENTS = [
  '/.well-known/oauth-authorization-server',
  '/.well-known/openid-configuration',
  '/.well-known/jwks.json',
]
/** What an endpoint answers to a client that it does not know. */
const ENDPOINTS = {
  '/token': [401, 'invalid_client'],
  '/revoke': [401, 'invalid_client'],
  '/introspect': [401, 'invalid_client'],
  '/par': [401, 'invalid_client'],
  '/userinfo': [401, 'invalid_token'],
}
/** Asked for by MCP clients at every authorization server, and not there. */
const UNKNOWN = [
  '/.well-known/oauth-protected-resource',
  '/.well-known/oauth-protected-resource/mcp',
  '/.well-known/oauth-authorization-server/mcp',
  '/.well-known/openid-configuration/mcp',
]

/** What a page may send to /register. */
const REGISTRATION = {
  method: 'POST',
  headers: { 'content-type': 'application/json', 'mcp-protocol-version': '2026-07-28' },
}

let provider, browser, site, page

before(async () => {
  site = await serve('other.test', (_, response) => {
    response.setHeader('content-type', 'text/html')
    response.end('<!doctype html><title>another site</title><p id="here">Here</p>')
  })
  provider = await start(`
[[client]]
id = "page"
public = true
redirect_uris = ["${site.origin}/callback"]
`)
  browser = await launch()
  page = await browser.page()
  await page.goto(site.origin)
  await page.until('document.getElementById("here")')
})

after(async () => {
  await browser?.stop()
  await provider?.stop()
  site?.stop()
})

/** What a script of the page gets of an answer; `blocked` when the browser gives it nothing. */
const ask = (path, init = {}) =>
  page.evaluate(`fetch(${JSON.stringify(provider.issuer + path)}, ${JSON.stringify(init)}).then(
    async (response) => ({
      status: response.status,
      type: response.headers.get('content-type'),
      challenge: response.headers.get('www-authenticate'),
      body: await response.text(),
    }),
    () => 'blocked',
  )`)

/** A request with all headers that clients send to machine endpoints. */
const posted = (authorization) => ({
  method: 'POST',
  headers: {
    authorization,
    'content-type': 'application/x-www-form-urlencoded',
    dpop: 'none',
    'mcp-protocol-version': '2026-07-28',
  },
  body: 'token=x&grant_type=refresh_token&refresh_token=x',
})

const preflight = (path, method) =>
  fetch(provider.issuer + path, {
    method: 'OPTIONS',
    headers: {
      origin: site.origin,
      'access-control-request-method': method,
      'access-control-request-headers': 'authorization,content-type,dpop,mcp-protocol-version',
    },
  })

test('documents are read, with the version header of MCP', async () => {
  for (const path of DOCUMENTS) {
    const { status, type, body } = await ask(path, { headers: { 'mcp-protocol-version': '2026-07-28' } })
    assert.deepEqual([status, type], [200, 'application/json'], path)
    assert.ok(JSON.parse(body).issuer ?? JSON.parse(body).keys, path)
  }
})

test('answers of machine endpoints are read with their challenge, errors too', async () => {
  for (const [path, [status, error]] of Object.entries(ENDPOINTS)) {
    const authorization = path === '/userinfo' ? 'Bearer nobody' : `Basic ${btoa('nobody:nothing')}`
    const answer = await ask(path, posted(authorization))
    assert.deepEqual([answer.status, answer.type], [status, 'application/json'], `${path}: ${JSON.stringify(answer)}`)
    assert.equal(JSON.parse(answer.body).error, error, path)
    assert.match(answer.challenge, /^(Basic|Bearer|DPoP) /, path)
    const { headers } = await fetch(provider.issuer + path, posted(authorization))
    assert.equal(headers.get('access-control-expose-headers'), 'WWW-Authenticate, DPoP-Nonce, Retry-After', path)
  }
})

test('registrations are read, refused ones and the management of others too', async () => {
  const registered = await ask('/register', { ...REGISTRATION, body: JSON.stringify({ redirect_uris: [`${site.origin}/callback`] }) })
  assert.deepEqual([registered.status, registered.type], [201, 'application/json'], registered.body)
  const { client_id, registration_client_uri, registration_access_token: token } = JSON.parse(registered.body)
  const refused = await ask('/register', { ...REGISTRATION, body: JSON.stringify({ redirect_uris: ['javascript:alert(1)'] }) })
  assert.deepEqual([refused.status, JSON.parse(refused.body).error], [400, 'invalid_redirect_uri'])
  const { pathname } = new URL(registration_client_uri)
  const [mine, others] = await Promise.all([token, 'nobody'].map((one) => ask(pathname, { headers: { authorization: `Bearer ${one}` } })))
  assert.deepEqual([mine.status, JSON.parse(mine.body).client_id], [200, client_id])
  assert.deepEqual([others.status, JSON.parse(others.body).error], [401, 'invalid_token'])
  for (const method of ['PUT', 'DELETE']) assert.equal((await preflight(pathname, method)).status, 204, method)
  assert.equal((await ask(pathname, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } })).status, 204)
})

test('preflights are answered without authentication', async () => {
  const asked = [['/register', 'POST'], ...DOCUMENTS.map((path) => [path, 'GET']), ...Object.keys(ENDPOINTS).map((path) => [path, 'POST'])]
  for (const [path, method] of asked) {
    const { status, headers } = await preflight(path, method)
    assert.equal(status, 204, path)
    assert.equal(headers.get('access-control-allow-origin'), '*', path)
    assert.equal(headers.get('access-control-allow-credentials'), null, path)
    assert.match(headers.get('access-control-allow-methods'), new RegExp(`\\b${method}\\b`), path)
    const allowed = headers.get('access-control-allow-headers').toLowerCase().split(/, */).sort()
    assert.deepEqual(allowed, ['authorization', 'content-type', 'dpop', 'mcp-protocol-version'], path)
  }
})

test('nothing is read with the credentials of a browser', async () => {
  for (const path of [...DOCUMENTS, '/token', '/userinfo']) {
    assert.equal(await ask(path, { credentials: 'include' }), 'blocked', path)
  }
})

test('nothing is read where people are signed in, and no page begins what devices begin', async () => {
  const query = new URLSearchParams({
    client_id: 'page',
    redirect_uri: `${site.origin}/callback`,
    response_type: 'code',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
    code_challenge_method: 'S256',
  })
  const pages = ['/authorize', `/authorize?${query}`, '/authorize/continue', '/authorize/consent', '/consents', '/logout', '/device']
  for (const path of [...pages, '/device_authorization']) {
    for (const method of ['GET', 'POST']) assert.equal(await ask(path, { method }), 'blocked', `${method} ${path}`)
    const { headers } = await preflight(path, 'GET')
    assert.equal(headers.get('access-control-allow-origin'), null, path)
  }
})

test('unknown well-known paths are not there, in JSON', async () => {
  for (const path of UNKNOWN) {
    const { status, type, body } = await ask(path, { headers: { 'mcp-protocol-version': '2025-11-25' } })
    assert.deepEqual([status, type], [404, 'application/json'], path)
    assert.equal(typeof JSON.parse(body).error, 'string', path)
  }
})

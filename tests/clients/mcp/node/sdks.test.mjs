// The official SDKs for TypeScript (1 and 2) against resource servers of theirs: every way to be a client, and what goes wrong later.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose'
import { Application, Connection, sdks, visit } from './sdks.mjs'
import { digest, start, unregister } from './stage.mjs'

const SECRET = 'another-secret-of-the-tests-only-0123456789'

let stage, folder, pem, editor, agent

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsidecar-sdks-'))
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  pem = await exportPKCS8(privateKey)
  const keys = join(folder, 'machine.jwks.json')
  writeFileSync(keys, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256', kid: 'machine' }] }))
  stage = await start(
    ({ documents }) => `
[clients]
trusted = ["${documents}/trusted/"]
[[client]]
id = "nightly"
name = "A job with a secret"
secret_sha256 = "${digest(SECRET)}"
grant_types = ["client_credentials"]
[[client]]
id = "hourly"
name = "A job with a key"
jwks_file = "${keys}"
grant_types = ["client_credentials"]
[[client]]
id = "editor"
name = "An editor"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
[[client]]
id = "agent"
name = "An agent with a secret"
secret_sha256 = "${digest(SECRET)}"
redirect_uris = ["http://127.0.0.1/callback"]
`,
  )
  editor = { client_id: 'editor', issuer: stage.issuer }
  agent = { client_id: 'agent', client_secret: SECRET, issuer: stage.issuer }
})

after(async () => {
  await stage?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** A test with each of both SDKs. */
function each(title, body) {
  for (const sdk of sdks) test(`${sdk.name}: ${title}`, { timeout: 30_000 }, () => body(sdk))
}

const since = (mark, path) => stage.front.requests.slice(mark).filter((one) => one.path === path)

each('a static public client signs in without a click', async (sdk) => {
  const mark = stage.front.requests.length
  const application = new Application({ client: editor })
  const connection = await Connection.open(sdk, stage.mcp.url, application)
  const claims = await connection.call('whoami')
  assert.equal(claims.aud, stage.mcp.url)
  assert.equal(claims.iss, stage.issuer)
  assert.equal(claims.client_id, 'editor')
  assert.equal(claims.scope, 'read')
  assert.match(claims.sub, /^userid:/)
  assert.equal(application.callback.get('iss'), stage.issuer)
  const [token] = since(mark, '/token')
  assert.equal(token.body.resource, stage.mcp.url)
  assert.equal(token.answer.token_type, 'Bearer')
  assert.equal(application.authorizations.length, 1)
  await connection.close()
})

each('a static confidential client signs in, its resource server asks by introspection', async (sdk) => {
  const mark = stage.front.requests.length
  const connection = await Connection.open(sdk, stage.notes.url, new Application({ client: agent }))
  const claims = await connection.call('whoami')
  assert.equal(claims.client_id, 'agent')
  assert.equal(claims.aud, stage.notes.url)
  assert.equal(typeof claims.exp, 'number')
  assert.match(since(mark, '/token')[0].headers.authorization, /^Basic /)
  assert.ok(since(mark, '/introspect').length > 0)
  await connection.close()
})

each('an expired token is refreshed, and temporary trouble costs no login', async (sdk) => {
  const application = new Application({ client: editor })
  const connection = await Connection.open(sdk, stage.mcp.url, application)
  const first = application.tokens()
  stage.mcp.later(first.expires_in)
  const mark = stage.front.requests.length
  const trouble = { error: 'temporarily_unavailable' }
  stage.front.fault({ path: '/token', match: { grant_type: 'refresh_token' }, status: 503, answer: trouble })
  await assert.rejects(connection.call('whoami'))
  stage.mcp.later(first.expires_in)
  assert.equal(application.tokens().refresh_token, first.refresh_token)
  assert.deepEqual(application.forgotten, [])
  assert.equal((await connection.call('whoami')).client_id, 'editor')
  assert.notEqual(application.tokens().refresh_token, first.refresh_token)
  assert.deepEqual(since(mark, '/token').map(({ status }) => status), [503, 200])
  assert.equal(application.authorizations.length, 1)
  await connection.close()
})

each('more scope is asked for when a tool needs it', async (sdk) => {
  const application = new Application({ client: editor })
  const connection = await Connection.open(sdk, stage.mcp.url, application)
  assert.equal((await connection.call('whoami')).scope, 'read')
  if (sdk.name === 'sdk 1') {
    // Refreshes, which never widens, and gives up; what it has works on.
    await assert.rejects(connection.call('write'))
    assert.equal((await connection.call('whoami')).scope, 'read')
    assert.deepEqual(application.forgotten, [])
  } else {
    assert.equal((await connection.call('write')).scope, 'read write')
    assert.equal(application.authorizations.at(-1).searchParams.get('scope'), 'read write')
    assert.equal(application.authorizations.length, 2)
  }
  await connection.close()
})

each('a client that tries its authorization request first loses nothing by it', async (sdk) => {
  for (const pick of [0, 1]) {
    const browse = async (url) => [await visit(url), await visit(url)][pick]
    const connection = await Connection.open(sdk, stage.mcp.url, new Application({ client: editor, browse }))
    assert.equal((await connection.call('whoami')).client_id, 'editor')
    await connection.close()
  }
})

each('a client registers itself, and needs no click on the device that it is used on', async (sdk) => {
  const mark = stage.front.requests.length
  const application = new Application({})
  const connection = await Connection.open(sdk, stage.mcp.url, application)
  const claims = await connection.call('whoami')
  const [{ status, body, answer }] = since(mark, '/register')
  // Neither SDK names a method. What comes back on loopback only has no secret to lose.
  assert.equal(body.token_endpoint_auth_method, undefined)
  assert.deepEqual([status, answer.token_endpoint_auth_method, answer.client_secret], [201, 'none', undefined])
  assert.deepEqual(answer.redirect_uris, [application.redirectUrl])
  assert.equal(claims.client_id, answer.client_id)
  assert.equal(since(mark, '/token')[0].body.client_id, answer.client_id)
  await connection.close()
})

each('a client registers with a secret', async (sdk) => {
  for (const method of ['client_secret_basic', 'client_secret_post']) {
    const mark = stage.front.requests.length
    const application = new Application({ metadata: { token_endpoint_auth_method: method } })
    const connection = await Connection.open(sdk, stage.notes.url, application)
    const [{ answer }] = since(mark, '/register')
    assert.equal((await connection.call('whoami')).client_id, answer.client_id)
    const [{ headers, body }] = since(mark, '/token')
    assert.equal(answer.token_endpoint_auth_method, method)
    assert.equal(headers.authorization !== undefined, method === 'client_secret_basic')
    assert.equal(body.client_secret, method === 'client_secret_post' ? answer.client_secret : undefined)
    await connection.close()
  }
})

each('a registration that is gone is made again', async (sdk) => {
  const mark = stage.front.requests.length
  const application = new Application({})
  const connection = await Connection.open(sdk, stage.mcp.url, application)
  const [{ answer: first }] = since(mark, '/register')
  await unregister(first)
  stage.mcp.later(60)
  const claims = await connection.call('whoami')
  const [, { answer: second }] = since(mark, '/register')
  assert.equal(claims.client_id, second.client_id)
  assert.notEqual(first.client_id, second.client_id)
  const refused = since(mark, '/token').find(({ body }) => body.grant_type === 'refresh_token')
  assert.deepEqual([refused.status, refused.answer.error], [401, 'invalid_client'])
  assert.ok(application.forgotten.includes(sdk.name === 'sdk 1' ? 'all' : 'client'))
  await connection.close()
})

each('a client with a document that is trusted', async (sdk) => {
  const mark = stage.front.requests.length
  const path = `/trusted/${sdk.name.replace(' ', '')}.json`
  const redirectUrl = 'http://127.0.0.1:33418/callback'
  // As such documents are: without a port.
  const id = stage.documents.put(path, { redirect_uris: ['http://127.0.0.1/callback'], token_endpoint_auth_method: 'none' })
  const connection = await Connection.open(sdk, stage.mcp.url, new Application({ document: id, redirectUrl }))
  assert.equal((await connection.call('whoami')).client_id, id)
  assert.deepEqual(since(mark, '/register'), [])
  assert.deepEqual(stage.documents.fetched.filter((one) => one === path), [path])
  await connection.close()
})

each('a program is its own client, by secret', async (sdk) => {
  const mark = stage.front.requests.length
  const known = { clientId: 'nightly', clientSecret: SECRET, expectedIssuer: stage.issuer }
  const connection = await Connection.open(sdk, stage.mcp.url, new sdk.ClientCredentialsProvider(known))
  const claims = await connection.call('whoami')
  assert.deepEqual([claims.client_id, claims.sub, claims.aud], ['nightly', 'nightly', stage.mcp.url])
  stage.mcp.later(60)
  await connection.call('whoami')
  for (const { body, answer } of since(mark, '/token')) {
    assert.equal(body.grant_type, 'client_credentials')
    assert.equal(answer.refresh_token, undefined)
  }
  assert.equal(since(mark, '/token').length, 2)
  await connection.close()
})

each('a program is its own client, by key', async (sdk) => {
  const known = { clientId: 'hourly', privateKey: pem, algorithm: 'ES256', expectedIssuer: stage.issuer }
  const connection = await Connection.open(sdk, stage.notes.url, new sdk.PrivateKeyJwtProvider(known))
  const claims = await connection.call('whoami')
  assert.deepEqual([claims.client_id, claims.sub, claims.aud], ['hourly', 'hourly', stage.notes.url])
  await connection.close()
})

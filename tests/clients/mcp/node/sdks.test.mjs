// The official SDKs for TypeScript (1 and 2) against resource servers of theirs: every way to be a client, and what goes wrong later.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Application, Connection, sdks, visit } from './sdks.mjs'
import { digest, start } from './stage.mjs'

const SECRET = 'another-secret-of-the-tests-only-0123456789'

let stage, editor, agent

before(async () => {
  stage = await start(
    () => `
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

after(() => stage?.stop())

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

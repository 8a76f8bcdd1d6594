// mcp-remote, which lets applications that only know local servers reach remote ones: signed in by a browser and by a device code.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { launch } from '../../node/browser.mjs'
import { digest, start, unregister } from './stage.mjs'
import { run } from './tool.mjs'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const BRIDGE = here('node_modules/.bin/mcp-remote')
const STATIC = ['--static-oauth-client-info', JSON.stringify({ client_id: 'bridge' })]

const SECRET = 'a-secret-of-mcp-remote-only-0123456789abcdef'

let stage, folder

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsidecar-mcp-remote-'))
  stage = await start(
    ({ documents }) => `
[clients]
trusted = ["${documents}/bridge.json"]
[[client]]
id = "job"
name = "mcp-remote without a person"
secret_sha256 = "${digest(SECRET)}"
grant_types = ["client_credentials"]
[[client]]
id = "bridge"
name = "mcp-remote"
public = true
redirect_uris = ["http://localhost/oauth/callback"]
grant_types = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
`,
  )
})

after(async () => {
  await stage?.stop()
  rmSync(folder, { recursive: true, force: true })
})

const environment = (store) => ({ BROWSER: here('browse'), MCP_REMOTE_CONFIG_DIR: join(folder, store) })

/** The bridge as an application starts it, and a connection through it. */
async function bridge(store, args) {
  const transport = new StdioClientTransport({
    command: BRIDGE,
    args: [stage.mcp.url, '--allow-http', ...args],
    env: { ...process.env, ...environment(store) },
    stderr: 'pipe',
  })
  let said = ''
  transport.stderr.on('data', (text) => (said += text))
  let ended = false
  const client = new Client({ name: 'tests', version: '1.0.0' })
  client.onclose = () => (ended = true)
  const connected = client.connect(transport)
  connected.catch(() => {})
  return {
    said: () => said,
    /** Whether the program is gone. */
    ended: () => ended,
    connected,
    async whoami() {
      await connected
      const { content } = await client.callTool({ name: 'whoami', arguments: {} })
      return JSON.parse(content[0].text)
    },
    close: () => client.close(),
  }
}

const since = (mark, path) => stage.front.requests.slice(mark).filter((one) => one.path === path)

test('its test program signs in and lists the tools', { timeout: 60_000 }, async () => {
  const client = run(here('node_modules/.bin/mcp-remote-client'), [stage.mcp.url, '--allow-http', ...STATIC], {
    env: environment('client'),
  })
  await client.until(/whoami/)
  client.stdin.end()
  const { code, output } = await client.ended
  assert.equal(code, 0, output)
})

test('the bridge signs in, refreshes before each use, and again after a restart', { timeout: 60_000 }, async () => {
  const mark = stage.front.requests.length
  const first = await bridge('bridge', STATIC)
  const claims = await first.whoami()
  assert.equal(claims.client_id, 'bridge')
  assert.equal(claims.aud, stage.mcp.url)
  await first.close()
  // Tokens of a minute are too short-lived for it: it renews them each time, and repeats the scope that was granted.
  const refreshes = since(mark, '/token').filter(({ body }) => body.grant_type === 'refresh_token')
  assert.ok(refreshes.length > 0)
  for (const { status, body } of refreshes) assert.deepEqual([status, body.scope], [200, 'read'])
  const restart = stage.front.requests.length
  const second = await bridge('bridge', STATIC)
  assert.equal((await second.whoami()).sub, claims.sub)
  await second.close()
  assert.deepEqual(since(restart, '/authorize'), [])
  assert.ok(since(restart, '/token').every(({ status, body }) => status === 200 && body.grant_type === 'refresh_token'))
})

test('the bridge registers itself', { timeout: 60_000 }, async () => {
  const mark = stage.front.requests.length
  const registered = await bridge('registered', [])
  const claims = await registered.whoami()
  await registered.close()
  const [{ status, body, answer }] = since(mark, '/register')
  assert.deepEqual([status, body.token_endpoint_auth_method, answer.token_endpoint_auth_method], [201, 'none', 'none'])
  assert.equal(claims.client_id, answer.client_id)
  // Everything that it said of itself comes back.
  for (const [name, value] of Object.entries(body)) assert.deepEqual(answer[name], value, name)
  // The registration is gone: a new one, without anybody's help.
  const restart = stage.front.requests.length
  await unregister(answer)
  stage.mcp.later(60)
  const again = await bridge('registered', [])
  const { client_id: anew } = await again.whoami()
  await again.close()
  assert.deepEqual(since(restart, '/register').map((one) => one.answer.client_id), [anew])
  assert.ok(since(restart, '/token').some((one) => one.status === 401 && one.answer.error === 'invalid_client'))
})

test('the bridge has a document', { timeout: 60_000 }, async () => {
  const mark = stage.front.requests.length
  const redirects = ['http://localhost/oauth/callback']
  const id = stage.documents.put('/bridge.json', { redirect_uris: redirects, token_endpoint_auth_method: 'none' })
  const documented = await bridge('document', ['--client-metadata-url', id])
  assert.equal((await documented.whoami()).client_id, id)
  await documented.close()
  assert.deepEqual(since(mark, '/register'), [])
})

test('the bridge is signed in without a person', { timeout: 60_000 }, async () => {
  const known = JSON.stringify({ client_id: 'job', client_secret: SECRET })
  const job = await bridge('job', ['--client-credentials', '--static-oauth-client-info', known])
  const { client_id, sub } = await job.whoami()
  assert.deepEqual([client_id, sub], ['job', 'job'])
  await job.close()
})

test('a device code, for which somebody answers on another device', { timeout: 60_000 }, async () => {
  const mark = stage.front.requests.length
  const browser = await launch()
  const device = await bridge('device', ['--device-code', ...STATIC])
  try {
    const shown = () => device.said().match(/^.*(http\S+\/device\?\S+)/m)
    while (!shown()) {
      assert.ok(!device.ended(), `mcp-remote ended without a code: ${device.said()}`)
      await new Promise((more) => setTimeout(more, 50))
    }
    const page = await browser.page()
    await page.goto(shown()[1])
    await page.click('#continue')
    await page.until('document.getElementById("allow") && document.getElementById("code") === null')
    await page.click('#allow')
    assert.equal((await device.whoami()).client_id, 'bridge')
    const [begun] = since(mark, '/device_authorization')
    assert.deepEqual([begun.status, begun.body.resource], [200, stage.mcp.url])
    assert.deepEqual(since(mark, '/authorize'), [])
  } finally {
    await device.close()
    await browser.stop()
  }
})

// The MCP Inspector: its command line, and its web application in Chromium.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { launch } from '../../node/browser.mjs'
import { start, unregister } from './stage.mjs'
import { freePort, newer, run } from './tool.mjs'

let stage, home, callback

before(async () => {
  home = mkdtempSync(join(tmpdir(), 'tsidecar-inspector-'))
  callback = `http://127.0.0.1:${await freePort()}/oauth/callback`
  stage = await start(
    () => `
[[client]]
id = "inspector"
name = "MCP Inspector"
public = true
redirect_uris = ["http://127.0.0.1/oauth/callback", "http://localhost/oauth/callback"]
`,
  )
})

after(async () => {
  await stage?.stop()
  rmSync(home, { recursive: true, force: true })
})

const since = (mark, path) => stage.front.requests.slice(mark).filter((one) => one.path === path)
const grants = (mark) => since(mark, '/token').map(({ status, body }) => `${body.grant_type} ${status}`)

/** The Inspector with settings of its own, and a browser that asks nobody. */
function inspector(args, env = {}) {
  const { command, env: node } = newer('mcp-inspector')
  const browse = fileURLToPath(new URL('browse', import.meta.url))
  const own = { MCP_INSPECTOR_SECRET_STORE: 'file', MCP_AUTO_OPEN_ENABLED: 'true', BROWSER: browse, HOME: home }
  return run(command, args, { env: { ...node, ...own, ...env } })
}

/** One command of its own process, which calls a tool. Gives what the resource server read in the token. */
async function whoami(args, env = {}) {
  const server = ['--server-url', stage.mcp.url, '--transport', 'http', '--callback-url', callback]
  const call = ['--method', 'tools/call', '--tool-name', 'whoami', '--format', 'json', '--quiet']
  const tool = inspector(['--cli', ...server, ...call, ...args], env)
  tool.stdin.end()
  const { code, output, answer } = await tool.ended
  assert.equal(code, 0, output)
  return JSON.parse(JSON.parse(answer).result.content[0].text)
}

test('the command line signs in, refreshes, and signs in anew', { timeout: 60_000 }, async () => {
  const known = ['--client-id', 'inspector']
  const first = await whoami(known)
  assert.deepEqual([first.client_id, first.aud, first.scope], ['inspector', stage.mcp.url, 'read'])
  let mark = stage.front.requests.length
  stage.mcp.later(60)
  assert.equal((await whoami(known)).sub, first.sub)
  assert.deepEqual(grants(mark), ['refresh_token 200'])
  mark = stage.front.requests.length
  assert.equal((await whoami([...known, '--relogin'])).sub, first.sub)
  assert.deepEqual(grants(mark), ['authorization_code 200'])
})

test('the command line registers itself, once, and anew when it must', { timeout: 60_000 }, async () => {
  const env = { HOME: join(home, 'registered') }
  let mark = stage.front.requests.length
  const { client_id } = await whoami([], env)
  stage.mcp.later(60)
  assert.equal((await whoami([], env)).client_id, client_id)
  assert.deepEqual(since(mark, '/register').map(({ status, answer }) => [status, answer.client_id]), [[201, client_id]])
  assert.deepEqual(grants(mark), ['authorization_code 200', 'refresh_token 200'])
  await unregister(since(mark, '/register')[0].answer)
  mark = stage.front.requests.length
  stage.mcp.later(60)
  const { client_id: anew } = await whoami([], env)
  assert.deepEqual(since(mark, '/register').map(({ answer }) => answer.client_id), [anew])
  assert.deepEqual(grants(mark), ['refresh_token 401', 'authorization_code 200'])
})

test('the web application registers itself and signs in', { timeout: 60_000 }, async () => {
  const port = await freePort()
  const web = inspector(['--web', '--server-url', stage.mcp.url, '--transport', 'http'], {
    CLIENT_PORT: String(port),
    MCP_AUTO_OPEN_ENABLED: 'false',
    HOME: join(home, 'web'),
  })
  const browser = await launch()
  try {
    const [, token] = await web.until(/MCP_INSPECTOR_API_TOKEN=([0-9a-f]+)/)
    const page = await browser.page()
    await page.goto(`http://localhost:${port}/?MCP_INSPECTOR_API_TOKEN=${token}`)
    const connect = 'document.querySelector("input[role=switch]")'
    await page.until(`${connect} !== null`)
    const mark = stage.front.requests.length
    await page.evaluate(`${connect}.click()`)
    await page.until('document.body.innerText.includes("Connected")')
    await page.photograph('inspector-web', 1280)
    // Its page leaves all but the visit to /authorize to its own server, so that the client belongs to this device: no click.
    const [{ status, headers, answer }] = since(mark, '/register')
    assert.deepEqual([status, headers.origin, answer.token_endpoint_auth_method], [201, undefined, 'none'])
    assert.deepEqual(since(mark, '/authorize').map((one) => one.headers['sec-fetch-site']), ['cross-site'])
    assert.deepEqual(grants(mark), ['authorization_code 200'])
  } finally {
    await browser.stop()
    await web.stop()
  }
})

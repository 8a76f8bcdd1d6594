// The MCP project's own test of authorization servers, at every version of the specification that it knows.
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { start } from './stage.mjs'
import { freePort, newer, run } from './tool.mjs'

const GRANT = 'authorization-code-grant'
const METADATA = 'authorization-server-metadata'
const DOCUMENTS = 'authorization-server-metadata-cimd'
const OLD = [GRANT, METADATA]
const NEW = [GRANT, METADATA, DOCUMENTS]

let stage, folder

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsidecar-conformance-'))
  stage = await start(
    () => `
[[client]]
id = "conformance"
name = "The conformance tool"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
`,
  )
})

after(async () => {
  await stage?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** One run of the tool, played by a browser that nobody is asked in. Gives the status of every check. */
async function judge(name, args) {
  const { command, env } = newer('conformance')
  const output = join(folder, name)
  const client = ['--client-id', 'conformance', '--port', String(await freePort())]
  const tool = run(command, ['authorization', '--url', stage.issuer, ...client, '--output-dir', output, ...args], { env })
  const [url] = await tool.until(/^http.*\/authorize\?.*$/m)
  await tool.until(/Callback server started/)
  assert.equal((await fetch(url)).status, 200)
  const { code, output: said } = await tool.ended
  assert.equal(code, 0, said)
  const results = readdirSync(output).map((scenario) => readFileSync(join(output, scenario, 'checks.json')))
  return results.flatMap((text) => JSON.parse(text)).map(({ id, status }) => `${id} ${status}`)
}

/** Both ways of one version: without a resource and with one. */
async function version(number, expected) {
  const chosen = number ? ['--spec-version', number] : []
  const both = [[], ['--resource', stage.mcp.url]]
  const runs = both.map((resource, index) => judge(`${number}-${index}`, [...chosen, ...resource]))
  for (const seen of await Promise.all(runs)) assert.deepEqual(seen.sort(), expected.map((id) => `${id} SUCCESS`).sort())
}

test('version 2025-03-26', () => version('2025-03-26', OLD))
test('version 2025-06-18', () => version('2025-06-18', OLD))
test('version 2025-11-25', () => version('2025-11-25', NEW))
test('version 2026-07-28', () => version('2026-07-28', NEW))
test('the draft', () => version('draft', NEW))
test('no version', () => version(undefined, NEW))

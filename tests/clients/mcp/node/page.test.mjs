// The official SDK for TypeScript (2) in Chromium: a page of another origin that registers, signs in and calls a tool by itself.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { launch } from '../../node/browser.mjs'
import { servePage } from './page/serve.mjs'
import { start } from './stage.mjs'

let site, stage, browser

before(async () => {
  site = await servePage('spa.test')
  stage = await start(
    () => `
[[client]]
id = "page"
name = "Notes"
public = true
redirect_uris = ["${site.origin}/callback"]
`,
  )
  browser = await launch()
})

after(async () => {
  await browser?.stop()
  await stage?.stop()
  site?.stop()
})

const result = 'document.getElementById("result").textContent'

test('a static client', { timeout: 60_000 }, async () => {
  const page = await browser.page()
  await page.goto(`${site.origin}/?${new URLSearchParams({ server: stage.mcp.url, client: 'page', issuer: stage.issuer })}`)
  await page.until(`location.pathname === '/callback' && ${result} !== ''`)
  const claims = JSON.parse(await page.evaluate(result))
  assert.deepEqual([claims.client_id, claims.aud, claims.scope], ['page', stage.mcp.url, 'read'])
})

// openid-client as a device without a browser (RFC 8628), and a person who answers for it in Chromium.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'
import { launch } from './browser.mjs'
import { start } from './stage.mjs'

let provider, browser, config

before(async () => {
  provider = await start(`
[[client]]
id = "device"
name = "Television in the living room"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
grant_types = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
`)
  config = await client.discovery(new URL(provider.issuer), 'device', undefined, client.None())
  browser = await launch()
})

after(async () => {
  await browser?.stop()
  await provider?.stop()
})

const shown = 'document.getElementById("allow") && document.getElementById("code") === null'

test('a device is signed in by a person who compares its code', async () => {
  const begun = await client.initiateDeviceAuthorization(config, { scope: 'openid profile offline_access' })
  const tokens = client.pollDeviceAuthorizationGrant(config, begun)
  const page = await browser.page()
  await page.goto(begun.verification_uri_complete)
  await page.until(`document.getElementById("code")?.textContent === ${JSON.stringify(begun.user_code)}`)
  await page.photograph('device-compare')
  await page.click('#continue')
  await page.until(shown)
  assert.equal(await page.evaluate('document.getElementById("warning")'), null)
  await page.photograph('device-question')
  await page.click('#allow')
  await page.until('document.querySelector("h1")?.textContent === "Continue on the other device"')
  await page.photograph('device-allowed')
  const { sub, name } = (await tokens).claims()
  assert.ok(sub.startsWith('userid:') && name)
  assert.ok((await client.refreshTokenGrant(config, (await tokens).refresh_token)).access_token)
  assert.deepEqual(page.errors, [])
})

test('a person types the code, is warned of a stranger, and denies', async () => {
  // A web page in somebody's browser: the tailnet does not say whose device that is.
  const request = { method: 'POST', headers: { origin: 'https://evil.test' }, body: new URLSearchParams({ client_id: 'device' }) }
  const begun = await (await fetch(config.serverMetadata().device_authorization_endpoint, request)).json()
  const tokens = client.pollDeviceAuthorizationGrant(config, begun)
  const page = await browser.page()
  await page.goto(begun.verification_uri)
  await page.until('document.getElementById("user_code")')
  await page.photograph('device-code')
  // What a person types has no hyphen and small letters.
  const typed = begun.user_code.replace('-', '').toLowerCase()
  await page.evaluate(`document.getElementById("user_code").value = ${JSON.stringify(typed)}`)
  await page.click('#continue')
  await page.until(shown)
  // The first second takes no click: one that began elsewhere does not count.
  const armed = 'getComputedStyle(document.getElementById("allow")).animation'
  assert.match(await page.evaluate(armed), /1s.*\barm\b|\barm\b.*1s/)
  assert.equal(await page.evaluate('document.activeElement === document.body'), true)
  await page.photograph('device-warning')
  assert.match(await page.evaluate('document.getElementById("warning").textContent'), /cannot tell on which device/)
  await page.click('#deny')
  await page.until('document.querySelector("h1")?.textContent === "Nobody was signed in"')
  await assert.rejects(tokens, { error: 'access_denied' })
  assert.deepEqual(page.errors, [])
})

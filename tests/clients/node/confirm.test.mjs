// The page *Continue as NAME on DEVICE* in Chromium: clicked too early, cancelled, continued, and what the browser keeps of it.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'
import { launch } from './browser.mjs'
import { serve, start } from './stage.mjs'

let provider, browser, app

before(async () => {
  app = await serve('rp.test', (_, response) => response.end('<!doctype html><title>back</title><p id="back">Back</p>'))
  const entry = (id, name, login) => `
[[client]]
id = "${id}"
name = "${name}"
public = true
login = "${login}"
redirect_uris = ["${app.origin}/callback"]
`
  provider = await start(entry('vault', 'The vault of the whole family', 'confirm') + entry('wiki', 'Wiki', 'session'))
  browser = await launch()
})

after(async () => {
  await browser?.stop()
  await provider?.stop()
  app?.stop()
})

/** One sign-in of a client with openid-client: where to go, and what comes of the address that one returns to. */
async function signIn(id, parameters = {}) {
  const config = await client.discovery(new URL(provider.issuer), id, undefined, client.None())
  const verifier = client.randomPKCECodeVerifier()
  const state = client.randomState()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: `${app.origin}/callback`,
    scope: 'openid profile',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    ...parameters,
  })
  const checks = { pkceCodeVerifier: verifier, expectedState: state }
  return {
    url: url.href,
    claims: async (page) => {
      const back = new URL(await page.evaluate('location.href'))
      return (await client.authorizationCodeGrant(config, back, checks)).claims()
    },
  }
}

const asked = 'document.getElementById("continue") && document.querySelector("h1").textContent.startsWith("Continue as ")'
const back = 'document.getElementById("back")'

test('the page is confirmed by a click that was meant for it', async () => {
  const page = await browser.page()
  const login = await signIn('vault')
  await page.goto(login.url)
  await page.until(asked)
  // The first second takes no click: one that began elsewhere does not count. Nothing has the focus either.
  const style = 'getComputedStyle(document.getElementById("continue"))'
  assert.match(await page.evaluate(`${style}.animation`), /1s.*\barm\b|\barm\b.*1s/)
  assert.equal(await page.evaluate('document.activeElement === document.body'), true)
  await page.until(`${style}.pointerEvents === "auto"`)
  await page.photograph('confirm')
  await page.click('#continue')
  await page.until(back)
  const claims = await login.claims(page)
  assert.equal(claims.acr, 'urn:tsidecar:acr:confirmed')
  assert.deepEqual(page.errors, [])
})

test('the page is cancelled', async () => {
  const page = await browser.page()
  const login = await signIn('vault')
  await page.goto(login.url)
  await page.until(asked)
  await page.click('#cancel')
  await page.until(back)
  await assert.rejects(login.claims(page), { error: 'access_denied' })
  assert.deepEqual(page.errors, [])
})

test('a session is kept by the browser, and renewed by a click', async () => {
  const page = await browser.page()
  const visit = async (parameters, click) => {
    const login = await signIn('wiki', parameters)
    await page.goto(login.url)
    if (click) {
      await page.until(asked)
      await page.click('#continue')
    }
    await page.until(`${back} && new URLSearchParams(location.search).get("state") === ${JSON.stringify(new URL(login.url).searchParams.get('state'))}`)
    return login
  }
  await assert.rejects((await visit({ prompt: 'none' })).claims(page), { error: 'login_required' })
  const first = await (await visit({})).claims(page)
  const silent = await (await visit({ prompt: 'none' })).claims(page)
  assert.deepEqual([silent.sid, silent.auth_time], [first.sid, first.auth_time])
  const tapped = await (await visit({ prompt: 'login' }, true)).claims(page)
  assert.equal(tapped.sid, first.sid)
  assert.ok(tapped.auth_time > first.auth_time)
  const after = await (await visit({ prompt: 'none' })).claims(page)
  assert.deepEqual([after.sid, after.auth_time, after.acr], [tapped.sid, tapped.auth_time, 'urn:tsidecar:acr:confirmed'])
  assert.deepEqual(page.errors, [])
})

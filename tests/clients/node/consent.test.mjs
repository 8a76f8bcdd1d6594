// The page that asks whether a stranger is allowed, in Chromium: clicked too early, denied, allowed, remembered, taken back.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'
import { launch } from './browser.mjs'
import { serve, start } from './stage.mjs'

let provider, browser, app

before(async () => {
  app = await serve('rp.test', (_, response) => response.end('<!doctype html><title>back</title><p id="back">Back</p>'))
  provider = await start(`
[[resource]]
uri = "https://tools.rp.test/mcp"
scopes = ["tools", "files:write"]
clients = ["*"]
`)
  browser = await launch()
})

after(async () => {
  await browser?.stop()
  await provider?.stop()
  app?.stop()
})

/** Registers a client as a web page does: it is a stranger to everybody. */
async function register(name, redirectUris = [`${app.origin}/callback`]) {
  const response = await fetch(`${provider.issuer}/register`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Origin: app.origin },
    body: JSON.stringify({ client_name: name, redirect_uris: redirectUris, token_endpoint_auth_method: 'none' }),
  })
  assert.equal(response.status, 201, await response.clone().text())
  return (await response.json()).client_id
}

/** One sign-in with openid-client: where to go, and what comes of the address that one returns to. */
async function signIn(id, parameters = {}) {
  const config = await client.discovery(new URL(provider.issuer), id, undefined, client.None())
  const verifier = client.randomPKCECodeVerifier()
  const state = client.randomState()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: `${app.origin}/callback`,
    scope: 'openid profile offline_access',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    ...parameters,
  })
  const checks = { pkceCodeVerifier: verifier, expectedState: state }
  return {
    config,
    url: url.href,
    returned: `document.getElementById("back") && new URLSearchParams(location.search).get("state") === ${JSON.stringify(state)}`,
    tokens: async (page) => {
      const back = new URL(await page.evaluate('location.href'))
      return client.authorizationCodeGrant(config, back, checks)
    },
  }
}

const asked = 'document.getElementById("allow") && document.querySelector("h1").textContent.startsWith("Allow ")'

test('the page is answered by a click that was meant for it, and remembered', async () => {
  const id = await register('Tools for the whole family')
  const page = await browser.page()
  const wish = { scope: 'openid profile offline_access tools files:write', resource: 'https://tools.rp.test/mcp' }
  const login = await signIn(id, wish)
  await page.goto(login.url)
  await page.until(asked)
  // The first second takes no click: one that began elsewhere does not count. Nothing has the focus either.
  for (const button of ['allow', 'deny']) {
    const style = `getComputedStyle(document.getElementById("${button}"))`
    assert.match(await page.evaluate(`${style}.animation`), /1s.*\barm\b|\barm\b.*1s/)
  }
  assert.equal(await page.evaluate('document.activeElement === document.body'), true)
  assert.equal(await page.evaluate('document.getElementById("place").textContent'), new URL(app.origin).host)
  assert.match(await page.evaluate('document.getElementById("origin").textContent'), /^by a web page in somebody’s browser, /)
  await page.until('getComputedStyle(document.getElementById("allow")).pointerEvents === "auto"')
  await page.photograph('consent')
  await page.click('#allow')
  await page.until(login.returned)
  assert.ok((await login.tokens(page)).refresh_token)
  // Without a page from now on, also where none may be shown.
  for (const parameters of [{}, { prompt: 'none' }, { scope: 'tools' }]) {
    const again = await signIn(id, { ...wish, ...parameters })
    await page.goto(again.url)
    await page.until(again.returned)
    await again.tokens(page)
  }
  assert.deepEqual(page.errors, [])
})

test('the page is denied, and the application told', async () => {
  const id = await register('Denied')
  const page = await browser.page()
  const login = await signIn(id)
  await page.goto(login.url)
  await page.until(asked)
  await page.click('#deny')
  await page.until(login.returned)
  await assert.rejects(login.tokens(page), { error: 'access_denied' })
  assert.deepEqual(page.errors, [])
})

test('names of strangers are text, and a long one fits', async () => {
  const name = '<img src=x onerror=alert(1)> שלום, and a name that goes on and on, as if it were a sentence'
  const id = await register(name, ['http://127.0.0.1/callback'])
  const page = await browser.page()
  const login = await signIn(id, { redirect_uri: 'http://127.0.0.1:50123/callback', prompt: 'login' })
  await page.goto(login.url)
  await page.until(asked)
  assert.equal(await page.evaluate('document.images.length'), 0)
  assert.match(await page.evaluate('document.querySelector("h1").textContent'), /^Allow “<img src=x onerror=alert\(1\)> שלום, and a name that goes on/)
  assert.match(await page.evaluate('document.getElementById("place").textContent'), /^a program on this device, .+ \(127\.0\.0\.1\)$/)
  await page.photograph('consent-loopback')
  assert.deepEqual(page.errors, [])
})

test('a page of somebody else can neither frame it nor answer it', async () => {
  const id = await register('Framed')
  const login = await signIn(id)
  const evil = await serve('other.test', (_, response) =>
    response.end(`<!doctype html><title>evil</title><iframe id="frame" onload="this.dataset.loaded = true" src="${login.url.replaceAll('&', '&amp;')}"></iframe>
      <form id="form" method="post" action="${provider.issuer}/authorize/consent"><input name="form" value="x"><input name="decision" value="allow"></form>`),
  )
  const page = await browser.page()
  await page.goto(`${evil.origin}/`)
  await page.until('document.getElementById("frame").dataset.loaded')
  // Refused, and not even that is shown.
  const framed = page.responses.filter(({ url }) => url.startsWith(`${provider.issuer}/authorize?`))
  assert.deepEqual(framed.map(({ status }) => status), [403])
  assert.deepEqual(await page.inFrames('[location.href, document.getElementById("allow") === null]'), [['chrome-error://chromewebdata/', true]])
  await page.evaluate('document.getElementById("form").submit()')
  await page.until('document.querySelector("h1")?.textContent === "This answer did not come from our page"')
  assert.ok(page.requests.every(({ url }) => !url.startsWith(`${app.origin}/callback`)))
  evil.stop()
})

test('what was allowed is seen and taken back', async () => {
  const id = await register('To be taken back')
  const page = await browser.page()
  const login = await signIn(id)
  await page.goto(login.url)
  await page.until(asked)
  await page.click('#allow')
  await page.until(login.returned)
  const tokens = await login.tokens(page)
  await page.goto(`${provider.issuer}/consents`)
  const section = `[...document.querySelectorAll("section")].find((one) => one.textContent.includes("To be taken back"))`
  await page.until(section)
  await page.until('getComputedStyle(document.querySelector("section button")).pointerEvents === "auto"')
  await page.photograph('consents')
  const button = await page.evaluate(`${section}.querySelector("button").id`)
  await page.click(`#${button}`)
  await page.until(`document.getElementById("done") && !${section}`)
  await assert.rejects(client.refreshTokenGrant(login.config, tokens.refresh_token), { error: 'invalid_grant' })
  const again = await signIn(id)
  await page.goto(again.url)
  await page.until(asked)
  assert.deepEqual(page.errors, [])
})

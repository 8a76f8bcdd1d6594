// express-openid-connect in Chromium: a web application on a site of its own that takes its code by form_post, begins logouts, and is
// told of those that others begin.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { after, before, test } from 'node:test'
import express from 'express'
import oidc from 'express-openid-connect'
import { launch } from './browser.mjs'
import { ca, serve, start } from './stage.mjs'

const secret = (name) => `${name}-`.padEnd(48, 'x')

let app, other, provider, browser

before(async () => {
  app = await application('rp.test')
  other = await application('other.test')
  const client = (id, { origin }, more) => `
[[client]]
id = "${id}"
name = "Web application"
secret_sha256 = "${createHash('sha256').update(secret(id)).digest('hex')}"
redirect_uris = ["${origin}/callback"]
post_logout_redirect_uris = ["${origin}"]
${more}`
  provider = await start(`
[outbound]
test_host = "${new URL(app.origin).host}"
test_ca = "${ca}"
${client('express', app, `backchannel_logout_uri = "${app.origin}/backchannel-logout"`)}
${client('other', other, 'require_pushed_authorization_requests = true')}`)
  app.configure('express', provider.issuer, { backchannelLogout: { store: new Store() } })
  other.configure('other', provider.issuer, { pushedAuthorizationRequests: true })
  browser = await launch()
})

after(async () => {
  await browser?.stop()
  await provider?.stop()
  app?.stop()
  other?.stop()
})

/** What the application remembers of logouts that it was told of, as a store of express-session. */
class Store {
  #kept = new Map()
  get(id, done) {
    done(null, this.#kept.get(id))
  }
  set(id, session, done) {
    this.#kept.set(id, session)
    done(null)
  }
  destroy(id, done) {
    this.#kept.delete(id)
    done(null)
  }
}

/** A web application; which client it is, is said as soon as the provider runs. */
async function application(name) {
  const web = express()
  const requests = []
  const answered = new EventEmitter()
  web.use((request, response, next) => {
    response.once('finish', () => {
      requests.push(`${request.method} ${request.path} ${response.statusCode}`)
      answered.emit(`${request.method} ${request.path}`, response.statusCode)
    })
    next()
  })
  /** The status of the next answer to such a request. */
  const next = async (request) => (await once(answered, request, { signal: AbortSignal.timeout(30_000) }))[0]
  const server = await serve(name, web)
  const configure = (clientID, issuerBaseURL, more) => {
    const authorizationParams = { response_type: 'code', response_mode: 'form_post', scope: 'openid profile email' }
    web.use(
      oidc.auth({
        clientID,
        clientSecret: secret(clientID),
        issuerBaseURL,
        baseURL: server.origin,
        secret: 's'.repeat(32),
        authorizationParams,
        // The code comes by a post from another site.
        transactionCookie: { sameSite: 'None' },
        authRequired: false,
        idpLogout: true,
        ...more,
      }),
    )
    web.get('/refresh-token', (request, response) => response.send(request.oidc.refreshToken))
    web.get('/', async (request, response) => {
      const person = request.oidc.isAuthenticated() ? await request.oidc.fetchUserInfo() : undefined
      const who = person ? `Hello, ${person.email}` : 'Nobody is signed in'
      response.send(`<!doctype html><title>Application</title><link rel="icon" href="data:,"><p>${who}</p>`)
    })
  }
  return { ...server, requests, next, configure }
}

const says = (origin, text) => `location.href === '${origin}/' && document.body.innerText.includes(${JSON.stringify(text)})`

test('express-openid-connect: login, the code comes by form_post', async () => {
  const tab = await browser.page()
  await tab.goto(`${app.origin}/login`)
  await tab.until(says(app.origin, 'Hello, alice@demo.test'))
  assert.ok(app.requests.includes('POST /callback 302'), app.requests.join('\n'))
  assert.ok(!app.requests.some((request) => request.startsWith('GET /callback')))
  assert.deepEqual(tab.errors, [])
})

test('express-openid-connect: pushes its request first, for it must', async () => {
  const tab = await browser.page()
  await tab.goto(`${other.origin}/login`)
  await tab.until(says(other.origin, 'Hello, alice@demo.test'))
  const asked = tab.requests.find(({ url }) => url.startsWith(`${provider.issuer}/authorize?`))
  assert.deepEqual([...new URL(asked.url).searchParams.keys()].sort(), ['client_id', 'request_uri'])
  assert.ok(other.requests.includes('POST /callback 302'), other.requests.join('\n'))
  assert.deepEqual(tab.errors, [])
})

test('express-openid-connect: is told when its refresh token was stolen, and ends its session', async () => {
  const tab = await browser.page()
  await tab.goto(`${app.origin}/login`)
  await tab.until(says(app.origin, 'Hello, alice@demo.test'))
  const stolen = await tab.evaluate(`fetch('/refresh-token').then((answer) => answer.text())`)
  const refresh = async (token) => {
    const form = { grant_type: 'refresh_token', refresh_token: token, client_id: 'express', client_secret: secret('express') }
    const answer = await fetch(`${provider.issuer}/token`, { method: 'POST', body: new URLSearchParams(form) })
    return answer.json()
  }
  const told = app.next('POST /backchannel-logout')
  const { refresh_token: second } = await refresh(stolen)
  await refresh(second)
  assert.equal((await refresh(stolen)).error, 'invalid_grant')
  assert.equal(await told, 204)
  await tab.goto(`${app.origin}/`)
  await tab.until(says(app.origin, 'Nobody is signed in'))
  assert.deepEqual(tab.errors, [])
})

test('express-openid-connect: its logout ends the session here, too', async () => {
  const tab = await browser.page()
  await tab.goto(`${app.origin}/login`)
  await tab.until(says(app.origin, 'Hello, alice@demo.test'))
  await tab.goto(`${app.origin}/logout`)
  await tab.until(says(app.origin, 'Nobody is signed in'))
  assert.ok(tab.requests.some(({ url }) => url.startsWith(`${provider.issuer}/logout?`)))

  await tab.goto(`${app.origin}/login`)
  await tab.click('#continue')
  await tab.until(says(app.origin, 'Hello, alice@demo.test'))
  assert.deepEqual(tab.errors, [])
})

test('express-openid-connect: is told of the logout that another application began', async () => {
  const tab = await browser.page()
  for (const { origin } of [app, other]) {
    await tab.goto(`${origin}/login`)
    await tab.until(says(origin, 'Hello, alice@demo.test'))
  }
  const told = app.next('POST /backchannel-logout')
  await tab.goto(`${other.origin}/logout`)
  await tab.until(says(other.origin, 'Nobody is signed in'))
  assert.equal(await told, 204)
  await tab.goto(`${app.origin}/`)
  await tab.until(says(app.origin, 'Nobody is signed in'))
  assert.deepEqual(tab.errors, [])
})

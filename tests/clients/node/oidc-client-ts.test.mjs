// oidc-client-ts in Chromium: a single-page application on an origin and site of its own, which calls token and userinfo by CORS and
// renews silently, by refresh token and in a frame. Third-party cookies are blocked, as they are or will be everywhere.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { launch } from './browser.mjs'
import { serve, start } from './stage.mjs'

const library = readFileSync(new URL('node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js', import.meta.url))

/** The application on a site of its own, and as a neighbour of the provider: another port of its host. */
let application, neighbour
let provider, browser

before(async () => {
  const answer = (request, response) => {
    const script = request.url === '/oidc-client-ts.js'
    response.writeHead(200, { 'content-type': script ? 'text/javascript' : 'text/html; charset=utf-8' })
    response.end(script ? library : page(`https://${request.headers.host}`))
  }
  application = await serve('spa.test', answer)
  neighbour = await serve('localhost', answer)
  const at = (...paths) => [application, neighbour].flatMap(({ origin }) => paths.map((path) => `"${origin}${path}"`)).join(', ')
  const client = (id, more) => `
[[client]]
id = "${id}"
name = "Single-page application"
public = true
redirect_uris = [${at('/callback', '/silent')}]
${more}`
  const leaves = `post_logout_redirect_uris = [${at('/')}]\n`
  provider = await start(
    '[dpop]\nnonce = "required"\n' +
      client('spa', leaves) +
      client('spa-frame', 'grant_types = ["authorization_code"]') +
      client('spa-leaving', `${leaves}grant_types = ["authorization_code"]`) +
      client('spa-session', `${leaves}grant_types = ["authorization_code"]\nlogin = "session"`),
  )
  browser = await launch()
})

after(async () => {
  await browser?.stop()
  await provider?.stop()
  application?.stop()
  neighbour?.stop()
})

/** The application: which client it is, is in the session storage, for the page is loaded again at each redirect. */
function page(origin) {
  const settings = {
    authority: provider.issuer,
    redirect_uri: `${origin}/callback`,
    silent_redirect_uri: `${origin}/silent`,
    post_logout_redirect_uri: `${origin}/`,
    scope: 'openid profile email',
    loadUserInfo: true,
    filterProtocolClaims: false,
    automaticSilentRenew: false,
    silentRequestTimeoutInSeconds: 20,
  }
  return `<!doctype html><title>Application</title><link rel="icon" href="data:,"><script src="/oidc-client-ts.js"></script><script>
    const more = JSON.parse(sessionStorage.getItem('more') ?? '{}')
    if (more.dpop) more.dpop.store = new oidc.IndexedDbDPoPStore()
    const manager = new oidc.UserManager({ ...${JSON.stringify(settings)}, ...more })
    const show = (user) => ({ ...user, expires_in: user.expires_in })
    if (location.pathname === '/silent') manager.signinSilentCallback()
    if (location.pathname === '/callback') {
      manager.signinRedirectCallback().then((user) => (window.user = show(user)), (error) => {
        window.failed = String(error)
        window.error = error.error
      })
    }
  </script>`
}

/** A page of the application as some client, before it is signed in. */
async function open(more, { origin } = application) {
  const tab = await browser.page()
  await tab.goto(`${origin}/`)
  await tab.until(`typeof manager !== 'undefined'`)
  await tab.evaluate(`sessionStorage.setItem('more', ${JSON.stringify(JSON.stringify(more))})`)
  await tab.goto(`${origin}/`)
  await tab.until(`typeof manager !== 'undefined' && manager.settings.client_id === '${more.client_id}'`)
  return tab
}

async function signIn(tab, args = {}) {
  await tab.evaluate(`void manager.signinRedirect(${JSON.stringify(args)})`)
  await tab.until('window.user !== undefined || window.failed !== undefined')
  assert.equal(await tab.evaluate('window.failed'), undefined)
  return tab.evaluate('window.user')
}

const posted = (tab, path) => tab.requests.filter(({ method, url }) => method === 'POST' && url === provider.issuer + path).length
const went = (tab, path) => tab.requests.filter(({ url }) => url.startsWith(`${provider.issuer}${path}?`)).length

test('oidc-client-ts: login by redirect, token and userinfo by CORS', async () => {
  const tab = await open({ client_id: 'spa' })
  const user = await signIn(tab)
  assert.match(user.profile.sub, /^userid:\d+$/)
  assert.equal(user.profile.email, 'alice@demo.test')
  assert.equal(posted(tab, '/token'), 1)
  assert.ok(tab.requests.some(({ url }) => url === `${provider.issuer}/userinfo`))
  assert.deepEqual(tab.errors, [])
})

test('oidc-client-ts: renews by itself shortly before the token runs out, with its refresh token', async () => {
  const lifetime = 600
  const settings = { client_id: 'spa', automaticSilentRenew: true, accessTokenExpiringNotificationTimeInSeconds: lifetime - 2 }
  const tab = await open(settings)
  const user = await signIn(tab)
  assert.equal(user.expires_in > lifetime - 30 && user.expires_in <= lifetime, true, `${user.expires_in}`)
  await tab.evaluate(`void manager.events.addUserLoaded((user) => (window.renewed = show(user)))`)
  await tab.until('window.renewed !== undefined')
  const renewed = await tab.evaluate('window.renewed')
  assert.notEqual(renewed.access_token, user.access_token)
  assert.notEqual(renewed.refresh_token, user.refresh_token)
  assert.equal(renewed.profile.sub, user.profile.sub)
  assert.equal(renewed.profile.email, user.profile.email)
  assert.equal(went(tab, '/authorize'), 1)
  assert.deepEqual(tab.errors, [])
})

test('oidc-client-ts: renews silently in a frame, without a cookie', async () => {
  const tab = await open({ client_id: 'spa-frame' })
  const user = await signIn(tab)
  assert.equal(user.refresh_token, undefined)
  const renewed = await tab.evaluate('manager.signinSilent().then(show)')
  assert.notEqual(renewed.access_token, user.access_token)
  assert.equal(renewed.profile.sub, user.profile.sub)
  assert.equal(went(tab, '/authorize'), 2)
  assert.equal(posted(tab, '/token'), 2)
  assert.deepEqual(tab.errors, [])
})

test('oidc-client-ts: with logout, a frame of another site, where the browser hides that somebody signed out, renews nothing', async () => {
  const tab = await open({ client_id: 'spa-leaving' })
  await signIn(tab)
  assert.equal(await tab.evaluate('manager.signinSilent().then(() => "renewed", (error) => error.error)'), 'login_required')
  const near = await open({ client_id: 'spa-leaving' }, neighbour)
  const user = await signIn(near)
  const renewed = await near.evaluate('manager.signinSilent().then(show)')
  assert.notEqual(renewed.access_token, user.access_token)
  assert.deepEqual([tab.errors, near.errors], [[], []])
})

test('oidc-client-ts: tokens bound to a key of the browser, with nonces that it learns by CORS', async () => {
  // The library's own call of userinfo has no proof.
  const tab = await open({ client_id: 'spa', dpop: { bind_authorization_code: true }, loadUserInfo: false })
  const user = await signIn(tab)
  assert.equal(user.token_type, 'DPoP')
  assert.equal(posted(tab, '/token'), 2)

  const renewed = await tab.evaluate('manager.signinSilent().then(show)')
  assert.equal(renewed.token_type, 'DPoP')
  assert.notEqual(renewed.access_token, user.access_token)

  const url = `${provider.issuer}/userinfo`
  const seen = await tab.evaluate(`(async () => {
    const user = await manager.getUser()
    const ask = async (nonce) => {
      const dpop = await manager.dpopProof('${url}', user, 'GET', nonce)
      return fetch('${url}', { headers: { authorization: 'DPoP ' + user.access_token, dpop } })
    }
    const first = await ask()
    const answer = await ask(first.headers.get('dpop-nonce'))
    const bearer = await fetch('${url}', { headers: { authorization: 'Bearer ' + user.access_token } })
    return { first: first.status, second: answer.status, bearer: bearer.status, person: await answer.json() }
  })()`)
  assert.deepEqual([seen.first, seen.second, seen.bearer], [401, 200, 401])
  assert.equal(seen.person.sub, user.profile.sub)
  assert.ok(tab.errors.every((error) => /status of 40[01]/.test(error)), tab.errors.join('\n'))
})

test('oidc-client-ts: errors reach the application, too', async () => {
  const tab = await open({ client_id: 'spa', client_secret: 'x'.repeat(43) })
  await tab.evaluate('void manager.signinRedirect()')
  await tab.until('window.failed !== undefined')
  assert.match(await tab.evaluate('window.failed'), /ErrorResponse/)
  // The browser itself notes the status, and nothing about CORS.
  assert.ok(tab.errors.every((error) => /status of 40[01]/.test(error)), tab.errors.join('\n'))
})

test('oidc-client-ts: prompt=login asks the person, who goes on or cancels', async () => {
  const tab = await open({ client_id: 'spa' })
  const before = await signIn(tab)
  await tab.evaluate(`void manager.signinRedirect({ prompt: 'login' })`)
  await tab.until(`document.querySelector('#continue') !== null`)
  await tab.photograph('continue')
  await tab.click('#continue')
  await tab.until('window.user !== undefined || window.failed !== undefined')
  const user = await tab.evaluate('window.user')
  assert.equal(user.profile.sub, before.profile.sub)
  assert.ok(user.profile.auth_time >= before.profile.auth_time, `${user.profile.auth_time}`)
  assert.notEqual(user.profile.acr, before.profile.acr)

  await tab.evaluate(`void manager.signinRedirect({ prompt: 'login' })`)
  await tab.click('#cancel')
  await tab.until('window.failed !== undefined')
  assert.equal(await tab.evaluate('window.error'), 'access_denied')
  assert.deepEqual(tab.errors, [])
})

test('oidc-client-ts: a session renews silently in a frame of the same site, and is no session in a frame of another', async () => {
  const near = await open({ client_id: 'spa-session' }, neighbour)
  const user = await signIn(near)
  const renewed = await near.evaluate('manager.signinSilent().then(show)')
  assert.notEqual(renewed.access_token, user.access_token)
  assert.ok(user.profile.auth_time && user.profile.sid)
  assert.equal(renewed.profile.auth_time, user.profile.auth_time)
  assert.equal(renewed.profile.sid, user.profile.sid)
  assert.deepEqual(near.errors, [])

  const stranger = await open({ client_id: 'spa-session' })
  await signIn(stranger)
  assert.equal(await stranger.evaluate('manager.signinSilent().then(() => "renewed", (error) => error.error)'), 'login_required')
  assert.deepEqual(stranger.errors, [])
})

test('oidc-client-ts: nobody is signed in by a frame that could ask them', async () => {
  const tab = await open({ client_id: 'spa' })
  const url = await tab.evaluate('manager._client.createSigninRequest({ redirect_uri: manager.settings.silent_redirect_uri }).then(({ url }) => url)')
  for (const [prompt, reached] of [['', false], ['&prompt=none', true]]) {
    const asked = tab.requests.length
    await tab.evaluate(`new Promise((loaded) => {
      const frame = document.createElement('iframe')
      frame.onload = loaded
      frame.src = ${JSON.stringify(url + prompt)}
      document.body.append(frame)
    }).then(() => undefined)`)
    const went = tab.requests.slice(asked).some((request) => request.url.startsWith(`${application.origin}/silent?`))
    assert.equal(went, reached, prompt)
  }
})

test('oidc-client-ts: logout, after which the next login takes one click', async () => {
  const tab = await open({ client_id: 'spa' })
  await signIn(tab)
  await tab.evaluate('void manager.signoutRedirect()')
  await tab.until(`location.href.startsWith('${application.origin}/') && location.pathname === '/' && typeof manager !== 'undefined'`)
  assert.equal(await tab.evaluate('manager.getUser()'), null)

  await tab.evaluate('void manager.signinRedirect()')
  await tab.click('#continue')
  await tab.until('window.user !== undefined')
  // From then on none.
  await signIn(tab)
  assert.deepEqual(tab.errors, [])
})

test('oidc-client-ts: a logout that names no place ends on a page of ours', async () => {
  const tab = await open({ client_id: 'spa' })
  await signIn(tab)
  await tab.goto(`${provider.issuer}/logout`)
  await tab.until(`document.querySelector('#logout') !== null`)
  await tab.photograph('logout')
  await tab.click('#logout')
  await tab.until(`document.querySelector('#logout') === null && document.readyState === 'complete'`)
  await tab.photograph('logged-out')
  assert.deepEqual(tab.errors, [])
})

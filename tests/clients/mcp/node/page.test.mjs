// The official SDK for TypeScript (2) in Chromium: a page of another origin that registers, signs in and calls a tool by itself. And
// what a person is asked there about a client with a document that nobody vouches for.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { launch } from '../../node/browser.mjs'
import { servePage } from './page/serve.mjs'
import { Application, Connection, sdks } from './sdks.mjs'
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

const result = 'document.getElementById("result")?.textContent'
const posted = (mark, path) => stage.front.requests.slice(mark).filter((one) => one.path === path && one.method === 'POST')

async function open(page, settings) {
  await page.goto(`${site.origin}/?${new URLSearchParams({ server: stage.mcp.url, ...settings })}`)
}

async function claims(page) {
  await page.until(`location.pathname === '/callback' && Boolean(${result})`)
  return JSON.parse(await page.evaluate(result))
}

test('a page that an administrator approved needs no click', { timeout: 60_000 }, async () => {
  const page = await browser.page()
  await open(page, { client: 'page', issuer: stage.issuer })
  const { client_id, aud, scope } = await claims(page)
  assert.deepEqual([client_id, aud, scope], ['page', stage.mcp.url, 'read'])
})

test('a page that registers itself is a stranger, and is asked about once', { timeout: 60_000 }, async () => {
  const page = await browser.page()
  let mark = stage.front.requests.length
  await open(page, {})
  await page.until('document.getElementById("allow") !== null')
  const [{ status, headers, answer: registered }] = posted(mark, '/register')
  // It named no method, and comes back to a host of the web: the default of RFC 7591, which the SDK obeys.
  assert.deepEqual([status, headers.origin, registered.token_endpoint_auth_method], [201, site.origin, 'client_secret_basic'])
  await page.photograph('consent-page')
  const text = await page.evaluate('document.body.innerText')
  assert.ok(text.includes('Notes in the browser') && text.includes(new URL(site.origin).host), text)
  await page.click('#allow')
  const { client_id, aud } = await claims(page)
  assert.deepEqual([client_id, aud], [registered.client_id, stage.mcp.url])
  assert.match(posted(mark, '/token')[0].headers.authorization, /^Basic /)
  // Remembered: without its tokens it signs in again by itself.
  await page.evaluate('["tokens", "verifier", "state"].forEach((name) => sessionStorage.removeItem(name))')
  mark = stage.front.requests.length
  await open(page, {})
  assert.equal((await claims(page)).client_id, registered.client_id)
  assert.deepEqual(posted(mark, '/register'), [])
  // The MCP server has said 401 at first, and 405 to a GET.
  assert.deepEqual(page.errors.filter((error) => !error.endsWith(stage.mcp.url)), [])
})

test('a page is denied', { timeout: 60_000 }, async () => {
  const page = await browser.page()
  await open(page, {})
  await page.click('#deny')
  await page.until(`location.pathname === '/callback' && Boolean(${result})`)
  assert.equal(await page.evaluate('new URLSearchParams(location.search).get("error")'), 'access_denied')
  assert.match(await page.evaluate(result), /OAuthError: the person did not allow this/)
})

test('a program with a document of its own is asked about once, too', { timeout: 60_000 }, async () => {
  const home = createServer((_, response) => response.end('<p id="home">Signed in</p>'))
  await new Promise((listening) => home.listen(0, '127.0.0.1', listening))
  const redirectUrl = `http://127.0.0.1:${home.address().port}/callback`
  const redirects = ['http://127.0.0.1/callback', 'http://localhost/callback']
  const id = stage.documents.put('/editor.json', { client_name: 'Editor', redirect_uris: redirects })
  const page = await browser.page()
  const text = []
  const asked = async (url) => {
    await page.goto(url.href)
    await page.until('document.getElementById("allow") !== null')
    await page.photograph('consent-document')
    text.push(await page.evaluate('document.body.innerText'))
    await page.click('#allow')
    await page.until('document.getElementById("home") !== null')
    return new URL(await page.evaluate('location.href'))
  }
  try {
    const first = new Application({ document: id, redirectUrl, browse: asked })
    const connection = await Connection.open(sdks[1], stage.mcp.url, first)
    assert.equal((await connection.call('whoami')).client_id, id)
    await connection.close()
    // Who wrote the document, where it leads, and that anybody on this machine may listen there.
    for (const part of [new URL(id).host, 'Editor', 'alice-laptop', stage.mcp.url]) assert.ok(text[0].includes(part), text[0])
    const again = await Connection.open(sdks[1], stage.mcp.url, new Application({ document: id, redirectUrl }))
    assert.equal((await again.call('whoami')).client_id, id)
    await again.close()
  } finally {
    home.closeAllConnections()
    home.close()
  }
})

// What the relying parties of this folder share: the running demonstration, and a visit to /authorize without a browser.
import assert from 'node:assert/strict'

if (!process.env.TSIDECAR_DEMO) {
  throw new Error('TSIDECAR_DEMO is not set: start these tests with tests/clients/run')
}

/** The one line that `tsidecar demo --json` printed: issuer, clients, resource. */
export const demo = JSON.parse(process.env.TSIDECAR_DEMO)
export const issuer = new URL(demo.issuer)
export const publicClient = demo.clients.find((client) => !client.client_secret)
export const confidentialClient = demo.clients.find((client) => client.client_secret)

let port = 20000

/** The redirect URI of one login: the registered one on a port of its own, as native applications do (RFC 8252 §7.3). */
export function redirectUri(client) {
  const uri = new URL(client.redirect_uri)
  uri.port = String((port += 1))
  return uri.href
}

/** Visits /authorize and returns where it sends the browser; zero click means that one request is enough. */
export async function visit(url, expectedRedirect) {
  const response = await fetch(url, { redirect: 'manual' })
  const text = await response.text()
  assert.ok([302, 303].includes(response.status), `/authorize answered ${response.status}: ${text.slice(0, 300)}`)
  const location = response.headers.get('location')
  assert.ok(location.startsWith(`${expectedRedirect}?`), `/authorize redirects to ${location.split('?')[0]}`)
  return new URL(location)
}

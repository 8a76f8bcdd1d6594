// A rotation of the signing keys under a running openid-client: the key set that it keeps from before the rotation verifies what
// is signed after it. Runs on a demonstration of its own, whose clock this test moves (debug builds only).
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import * as client from 'openid-client'
import { issuer, publicClient, redirectUri, visit } from './demo.mjs'

const DAY = 86_400
const jwks = async () => (await fetch(new URL('/.well-known/jwks.json', issuer))).json()
const rs256 = async () => (await jwks()).keys.filter((key) => key.alg === 'RS256').map((key) => key.kid)

/** Moves the clock of the daemon, and waits until its keys are as expected: it looks every ten seconds. */
async function moveTo(days, expected) {
  writeFileSync(process.env.TSIDECAR_TEST_CLOCK, String(days * DAY))
  for (let tries = 0; !expected(await rs256()); tries += 1) {
    assert.ok(tries < 300, `the keys did not change within 30 s: ${await rs256()}`)
    await sleep(100)
  }
}

/** The relying party at a time: its own clock shows the same day, and its key set is the one it has. */
function relyingParty(server, days, kept) {
  const config = new client.Configuration(server, publicClient.client_id, { [client.clockSkew]: days * DAY }, client.None())
  client.allowInsecureRequests(config)
  client.enableNonRepudiationChecks(config)
  const fetched = []
  config[client.customFetch] = (url, options) => {
    fetched.push(new URL(url).pathname)
    return fetch(url, options)
  }
  if (kept) client.setJwksCache(config, kept)
  return { config, fetched }
}

async function login(config) {
  const checks = {
    pkceCodeVerifier: client.randomPKCECodeVerifier(),
    expectedState: client.randomState(),
    expectedNonce: client.randomNonce(),
    idTokenExpected: true,
  }
  const redirect_uri = redirectUri(publicClient)
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri,
    scope: 'openid email',
    code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: checks.expectedState,
    nonce: checks.expectedNonce,
  })
  return client.authorizationCodeGrant(config, await visit(url, redirect_uri), checks)
}

const kid = (tokens) => decodeProtectedHeader(tokens.id_token).kid

test('openid-client: a key set from before a rotation verifies what is signed after it', async () => {
  const [first] = await rs256()
  await moveTo(89, (kids) => kids.length === 2)
  const server = (
    await client.discovery(issuer, publicClient.client_id, {}, client.None(), { execute: [client.allowInsecureRequests] })
  ).serverMetadata()

  const before = relyingParty(server, 89)
  const old = await login(before.config)
  assert.equal(kid(old), first)
  assert.ok(before.fetched.includes('/.well-known/jwks.json'))
  const kept = client.getJwksCache(before.config)

  await moveTo(90, (kids) => kids[0] !== first)
  const after = relyingParty(server, 90, kept)
  const renewed = await client.refreshTokenGrant(after.config, old.refresh_token)
  const fresh = await login(after.config)
  for (const tokens of [renewed, fresh]) {
    assert.notEqual(kid(tokens), first)
    assert.equal(tokens.claims().sub, old.claims().sub)
  }
  assert.equal((await client.fetchUserInfo(after.config, fresh.access_token, fresh.claims().sub)).email, 'alice@demo.test')
  assert.ok(!after.fetched.includes('/.well-known/jwks.json'), 'the key set was fetched again')

  // The other way round: a relying party that starts now verifies what was signed before.
  const now = createLocalJWKSet(await jwks())
  const verified = await jwtVerify(old.id_token, now, { currentDate: new Date(Date.now() + 89 * DAY * 1000) })
  assert.equal(verified.payload.sub, fresh.claims().sub)
})

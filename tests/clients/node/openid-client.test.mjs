// openid-client, the certified relying party of Node: what most Node applications log in with.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as client from 'openid-client'
import { confidentialClient, demo, issuer, publicClient, redirectUri, visit } from './demo.mjs'

const ways = [
  { name: 'public', who: publicClient, auth: () => client.None() },
  { name: 'client_secret_basic', who: confidentialClient, auth: (secret) => client.ClientSecretBasic(secret) },
  { name: 'client_secret_post', who: confidentialClient, auth: (secret) => client.ClientSecretPost(secret) },
]

async function discover({ who, auth }) {
  const config = await client.discovery(issuer, who.client_id, {}, auth(who.client_secret), {
    execute: [client.allowInsecureRequests],
  })
  // Over TLS this library takes an ID token from the token endpoint on trust; here it must check the signature with our JWKS.
  client.enableNonRepudiationChecks(config)
  return config
}

async function authorize(config, who, extra = {}) {
  const login = {
    pkceCodeVerifier: client.randomPKCECodeVerifier(),
    expectedState: client.randomState(),
    expectedNonce: client.randomNonce(),
    idTokenExpected: true,
  }
  const redirect_uri = redirectUri(who)
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri,
    scope: 'openid profile email offline_access',
    code_challenge: await client.calculatePKCECodeChallenge(login.pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: login.expectedState,
    nonce: login.expectedNonce,
    ...extra,
  })
  return { login, callback: await visit(url, redirect_uri) }
}

for (const way of ways) {
  test(`openid-client, ${way.name}: discovery, code with PKCE, userinfo, refresh`, async () => {
    const config = await discover(way)
    assert.equal(config.serverMetadata().issuer, demo.issuer)
    assert.ok(config.serverMetadata().supportsPKCE())

    const { login, callback } = await authorize(config, way.who)
    assert.equal(callback.searchParams.get('iss'), demo.issuer)
    const tokens = await client.authorizationCodeGrant(config, callback, login)
    const claims = tokens.claims()
    assert.equal(claims.aud, way.who.client_id)
    assert.match(claims.sub, /^userid:\d+$/)
    assert.equal(typeof claims.auth_time, 'number')
    assert.ok(tokens.refresh_token)

    const who = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
    assert.ok(who.email)
    assert.ok(who.name)

    const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
    assert.notEqual(renewed.refresh_token, tokens.refresh_token)
    assert.equal(renewed.claims().sub, claims.sub)
    assert.equal(renewed.claims().auth_time, claims.auth_time)
    assert.deepEqual((await client.fetchUserInfo(config, renewed.access_token, claims.sub)).email, who.email)

    const again = await client.refreshTokenGrant(config, renewed.refresh_token)
    assert.ok(again.refresh_token)
  })
}

test('openid-client: a code with the wrong verifier is refused', async () => {
  const config = await discover(ways[0])
  const { login, callback } = await authorize(config, publicClient)
  await assert.rejects(
    client.authorizationCodeGrant(config, callback, { ...login, pkceCodeVerifier: client.randomPKCECodeVerifier() }),
    { error: 'invalid_grant', status: 400 },
  )
})

test('openid-client: a wrong secret is refused and does not burn the code', async () => {
  const config = await discover(ways[1])
  const { login, callback } = await authorize(config, confidentialClient)
  const impostor = await discover({ who: confidentialClient, auth: () => client.ClientSecretBasic('x'.repeat(43)) })
  await assert.rejects(client.authorizationCodeGrant(impostor, callback, login), (error) => {
    assert.equal(error.status, 401)
    return true
  })
  const tokens = await client.authorizationCodeGrant(config, callback, login)
  assert.ok(tokens.access_token)
})

test('openid-client: a repeated code is refused and ends the login it made', async () => {
  const config = await discover(ways[0])
  const { login, callback } = await authorize(config, publicClient)
  const tokens = await client.authorizationCodeGrant(config, callback, login)
  await assert.rejects(client.authorizationCodeGrant(config, callback, login), { error: 'invalid_grant' })
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), { error: 'invalid_grant' })
})

test('openid-client: prompt=none succeeds, the network is the session', async () => {
  const config = await discover(ways[0])
  const { login, callback } = await authorize(config, publicClient, { prompt: 'none' })
  const tokens = await client.authorizationCodeGrant(config, callback, login)
  assert.ok(tokens.claims().sub)
})

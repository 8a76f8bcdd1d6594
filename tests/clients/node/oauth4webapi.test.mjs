// oauth4webapi: the strictest parser of answers there is; every field of ours passes through its checks.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import { confidentialClient, demo, issuer, publicClient, redirectUri, visit } from './demo.mjs'

const insecure = { [oauth.allowInsecureRequests]: true }
const ways = [
  { name: 'public', who: publicClient, auth: oauth.None() },
  { name: 'client_secret_basic', who: confidentialClient, auth: oauth.ClientSecretBasic(confidentialClient.client_secret) },
  { name: 'client_secret_post', who: confidentialClient, auth: oauth.ClientSecretPost(confidentialClient.client_secret) },
]

async function discover(algorithm = 'oidc') {
  const response = await oauth.discoveryRequest(issuer, { algorithm, ...insecure })
  return oauth.processDiscoveryResponse(issuer, response)
}

async function authorize(as, who, parameters = {}) {
  const verifier = oauth.generateRandomCodeVerifier()
  const nonce = oauth.generateRandomNonce()
  const state = oauth.generateRandomState()
  const redirect = redirectUri(who)
  const url = new URL(as.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: who.client_id,
    response_type: 'code',
    redirect_uri: redirect,
    scope: 'openid profile email',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    nonce,
    state,
    ...parameters,
  })
  const callback = await visit(url, redirect)
  const answer = oauth.validateAuthResponse(as, { client_id: who.client_id }, callback, state)
  return { answer, verifier, nonce, redirect }
}

function redeem(as, { who, auth }, { answer, verifier, redirect }, additionalParameters = {}) {
  const options = { additionalParameters, ...insecure }
  return oauth.authorizationCodeGrantRequest(as, { client_id: who.client_id }, auth, answer, redirect, verifier, options)
}

for (const way of ways) {
  test(`oauth4webapi, ${way.name}: discovery, code with PKCE, userinfo, refresh`, async () => {
    const client = { client_id: way.who.client_id }
    const as = await discover()
    assert.equal(as.authorization_response_iss_parameter_supported, true)

    const login = await authorize(as, way.who)
    const response = await redeem(as, way, login)
    assert.match(response.headers.get('cache-control'), /no-store/)
    const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, {
      expectedNonce: login.nonce,
      requireIdToken: true,
    })
    await oauth.validateApplicationLevelSignature(as, response, insecure)
    const claims = oauth.getValidatedIdTokenClaims(tokens)
    assert.deepEqual(new Set(tokens.scope.split(' ')), new Set(['openid', 'profile', 'email']))
    assert.equal(typeof claims.at_hash, 'string')

    const answer = await oauth.userInfoRequest(as, client, tokens.access_token, insecure)
    const person = await oauth.processUserInfoResponse(as, client, claims.sub, answer)
    assert.ok(person.email)

    const refreshed = await oauth.refreshTokenGrantRequest(as, client, way.auth, tokens.refresh_token, insecure)
    const renewed = await oauth.processRefreshTokenResponse(as, client, refreshed)
    assert.notEqual(renewed.refresh_token, tokens.refresh_token)
    assert.equal(oauth.getValidatedIdTokenClaims(renewed).sub, claims.sub)
    await oauth.validateApplicationLevelSignature(as, refreshed, insecure)
  })
}

test('oauth4webapi: RFC 8414 metadata says the same as OpenID discovery', async () => {
  const [oidc, oauth2] = [await discover('oidc'), await discover('oauth2')]
  for (const name of ['issuer', 'authorization_endpoint', 'token_endpoint', 'jwks_uri', 'code_challenge_methods_supported']) {
    assert.deepEqual(oauth2[name], oidc[name], name)
  }
})

test('oauth4webapi: a token for a resource is a JWT for that resource alone (RFC 8707, RFC 9068)', async () => {
  const as = await discover()
  const way = ways[0]
  const client = { client_id: way.who.client_id }
  const login = await authorize(as, way.who, { resource: demo.resource })
  const response = await redeem(as, way, login, { resource: demo.resource })
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: login.nonce })
  const expected = { issuer: demo.issuer, audience: demo.resource, typ: 'at+jwt' }
  const jwks = createRemoteJWKSet(new URL(as.jwks_uri))
  const { payload } = await jwtVerify(tokens.access_token, jwks, expected)
  assert.equal(payload.aud, demo.resource)
  assert.equal(payload.client_id, way.who.client_id)

  // The resource server of oauth4webapi judges the same token.
  const call = new Request(demo.resource, { headers: { authorization: `Bearer ${tokens.access_token}` } })
  const judged = await oauth.validateJwtAccessToken(as, call, demo.resource, insecure)
  assert.equal(judged.sub, payload.sub)

  // It is no token for userinfo: the audience is another.
  const answer = await oauth.userInfoRequest(as, client, tokens.access_token, insecure)
  await assert.rejects(oauth.processUserInfoResponse(as, client, payload.sub, answer), (error) => {
    assert.ok(error instanceof oauth.WWWAuthenticateChallengeError)
    assert.equal(error.status, 401)
    return true
  })
})

test('oauth4webapi: an unknown resource is invalid_target', async () => {
  const as = await discover()
  await assert.rejects(authorize(as, publicClient, { resource: 'https://nobody.demo.test/' }), { error: 'invalid_target' })
})

test('oauth4webapi: an error goes to the redirect with state and iss', async () => {
  const as = await discover()
  await assert.rejects(authorize(as, publicClient, { response_type: 'token' }), { error: 'unsupported_response_type' })
  await assert.rejects(authorize(as, publicClient, { code_challenge_method: 'plain' }), { error: 'invalid_request' })
})

test('oauth4webapi: an unregistered redirect URI gets a page, never a redirect', async () => {
  const as = await discover()
  const url = new URL(as.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: publicClient.client_id,
    response_type: 'code',
    redirect_uri: 'http://127.0.0.1:20000/elsewhere',
    scope: 'openid',
  })
  const response = await fetch(url, { redirect: 'manual' })
  assert.equal(response.status, 400)
  assert.equal(response.headers.get('location'), null)
  assert.match(response.headers.get('content-type'), /^text\/html/)
})

test('oauth4webapi: a token that nobody issued is refused at userinfo with a challenge', async () => {
  const as = await discover()
  const answer = await oauth.userInfoRequest(as, { client_id: publicClient.client_id }, `tsat_${'A'.repeat(60)}`, insecure)
  await assert.rejects(oauth.processUserInfoResponse(as, { client_id: publicClient.client_id }, 'userid:1', answer), (error) => {
    assert.equal(error.status, 401)
    assert.equal(error.cause[0].parameters.error, 'invalid_token')
    return true
  })
})

test('oauth4webapi: parallel refreshes of one token get one successor, and what is older ends the login', async () => {
  const as = await discover()
  const way = ways[0]
  const client = { client_id: way.who.client_id }
  const login = await authorize(as, way.who)
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, await redeem(as, way, login), {
    expectedNonce: login.nonce,
  })
  const refresh = async (token) =>
    oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, way.auth, token, insecure))

  const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(tokens.refresh_token)))
  assert.equal(new Set(answers.map((answer) => answer.refresh_token)).size, 1)

  const next = await refresh(answers[0].refresh_token)
  await assert.rejects(refresh(tokens.refresh_token), { error: 'invalid_grant' })
  await assert.rejects(refresh(next.refresh_token), { error: 'invalid_grant' })
})

// The two official SDKs for TypeScript as one kind of client: an application that is its own browser and needs no click.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import * as one from '@modelcontextprotocol/sdk/client/auth.js'
import * as oneMachine from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import { Client as OneClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as OneTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import * as two from '@modelcontextprotocol/client'

export const sdks = [
  {
    name: 'sdk 1',
    Client: OneClient,
    Transport: OneTransport,
    UnauthorizedError: one.UnauthorizedError,
    // Leaves `state` and `iss` to the application.
    finish: (transport, callback) => transport.finishAuth(callback.get('code')),
    ...oneMachine,
  },
  {
    name: 'client 2',
    Client: two.Client,
    Transport: two.StreamableHTTPClientTransport,
    UnauthorizedError: two.UnauthorizedError,
    finish: (transport, callback) => transport.finishAuth(callback),
    ClientCredentialsProvider: two.ClientCredentialsProvider,
    PrivateKeyJwtProvider: two.PrivateKeyJwtProvider,
  },
]

/** Visits /authorize without a browser, and gives where it leads: one request is enough, for nobody is asked. */
export async function visit(url) {
  const response = await fetch(url, { redirect: 'manual' })
  const text = await response.text()
  assert.ok([302, 303].includes(response.status), `/authorize answered ${response.status}: ${text}`)
  return new URL(response.headers.get('location'))
}

/** What an application tells its SDK, and what it keeps for it. `client` is what it was given out of band. */
export class Application {
  /** Every authorization request, in order. */
  authorizations = []
  /** What the SDK said to forget. */
  forgotten = []
  #client
  #tokens
  #verifier
  #state
  #discovered

  constructor({ client, document, redirectUrl = 'http://127.0.0.1:33418/callback', metadata = {}, browse = visit }) {
    this.#client = client
    this.clientMetadataUrl = document
    this.redirectUrl = redirectUrl
    this.clientMetadata = { client_name: 'Tests of tsidecar', redirect_uris: [redirectUrl], ...metadata }
    this.browse = browse
  }

  state() {
    return (this.#state = randomUUID())
  }

  clientInformation() {
    return this.#client
  }

  saveClientInformation(information) {
    this.#client = information
  }

  tokens() {
    return this.#tokens
  }

  saveTokens(tokens) {
    this.#tokens = tokens
  }

  saveCodeVerifier(verifier) {
    this.#verifier = verifier
  }

  codeVerifier() {
    return this.#verifier
  }

  saveDiscoveryState(discovered) {
    this.#discovered = discovered
  }

  discoveryState() {
    return this.#discovered
  }

  invalidateCredentials(scope) {
    this.forgotten.push(scope)
    if (scope === 'all' || scope === 'discovery') this.#discovered = undefined
    if (scope === 'all' || scope === 'client') this.#client = undefined
    if (scope === 'all' || scope === 'tokens') this.#tokens = undefined
  }

  async redirectToAuthorization(url) {
    this.authorizations.push(url)
    const back = await this.browse(url)
    assert.equal(back.href.split('?')[0], this.redirectUrl)
    assert.equal(back.searchParams.get('error'), null, back.href)
    assert.equal(back.searchParams.get('state'), this.#state)
    this.callback = back.searchParams
  }
}

/** A connection to a resource server; signs in whenever the SDK says that it must. */
export class Connection {
  #sdk
  #url
  #provider
  #transport
  #client

  static async open(sdk, url, provider) {
    const connection = new Connection()
    connection.#sdk = sdk
    connection.#url = new URL(url)
    connection.#provider = provider
    await connection.#signedIn(() => connection.#connect())
    return connection
  }

  async #connect() {
    this.#client = new this.#sdk.Client({ name: 'tests', version: '1.0.0' })
    this.#transport = new this.#sdk.Transport(this.#url, { authProvider: this.#provider })
    await this.#client.connect(this.#transport)
  }

  async #signedIn(work) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof this.#sdk.UnauthorizedError)) throw error
      await this.#sdk.finish(this.#transport, this.#provider.callback)
      return await work()
    }
  }

  /** What the resource server read in the token. */
  async call(name) {
    const result = await this.#signedIn(() => this.#client.callTool({ name, arguments: {} }))
    const [{ text }] = result.content
    assert.ok(!result.isError, text)
    return JSON.parse(text)
  }

  close() {
    return this.#client.close()
  }
}

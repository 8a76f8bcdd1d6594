// Chromium without a window, told what to do over its debugging pipe: what a person does, and what their browser notices.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const PATIENCE = 30_000

/** Starts a browser with a profile of its own, in which third-party cookies are blocked. Names below .test are this machine. */
export async function launch() {
  const profile = mkdtempSync(join(tmpdir(), 'tsidecar-chromium-'))
  mkdirSync(join(profile, 'Default'))
  const preferences = { profile: { cookie_controls_mode: 1, block_third_party_cookies: true } }
  writeFileSync(join(profile, 'Default', 'Preferences'), JSON.stringify(preferences))
  const { publicKey } = new X509Certificate(readFileSync(join(process.env.TSIDECAR_TLS, 'cert.pem')))
  const spki = createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64')
  const chromium = spawn(
    process.env.CHROMIUM ?? 'chromium',
    [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      '--no-proxy-server',
      '--hide-scrollbars',
      '--remote-debugging-pipe',
      `--user-data-dir=${profile}`,
      '--host-resolver-rules=MAP *.test 127.0.0.1, MAP *.googleapis.com ~NOTFOUND',
      `--ignore-certificate-errors-spki-list=${spki}`,
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
  )
  const ended = new Promise((end) => chromium.once('exit', end))
  const pipe = new Pipe(chromium.stdio[3], chromium.stdio[4])
  chromium.once('error', (error) => pipe.fail(error))
  chromium.once('exit', (code) => pipe.fail(new Error(`chromium ended with ${code}`)))
  await pipe.send('Browser.getVersion')
  return {
    /** A tab with cookies and storage of its own. */
    page: () => Page.open(pipe),
    async stop() {
      await pipe.send('Browser.close').catch(() => chromium.kill('SIGKILL'))
      await ended
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** Messages of the DevTools protocol, each ended by a NUL. */
class Pipe {
  #waiting = new Map()
  #listeners = new Set()
  #write
  #last = 0

  constructor(write, read) {
    this.#write = write
    let text = ''
    read.setEncoding('utf8')
    read.on('data', (more) => {
      const messages = (text + more).split('\0')
      text = messages.pop()
      for (const message of messages) this.#take(JSON.parse(message))
    })
    write.on('error', () => {})
  }

  #take({ id, result, error, ...event }) {
    if (id === undefined) {
      for (const listener of this.#listeners) listener(event)
      return
    }
    const { resolve, reject } = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error) reject(new Error(error.message))
    else resolve(result)
  }

  on(listener) {
    this.#listeners.add(listener)
  }

  fail(error) {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  send(method, params = {}, sessionId = undefined) {
    const id = (this.#last += 1)
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#write.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    })
  }
}

class Page {
  /** What the console called an error, and exceptions that nobody caught: in the page and in its frames. */
  errors = []
  /** Every request that the page and its frames have made: method and URL. */
  requests = []
  /** Every answer that they were given: status and URL. */
  responses = []
  #pipe
  #session
  /** Of the page, and of its frames of other sites. */
  #sessions = new Set()

  static async open(pipe) {
    const page = new Page()
    const { browserContextId } = await pipe.send('Target.createBrowserContext')
    const { targetId } = await pipe.send('Target.createTarget', { url: 'about:blank', browserContextId })
    const { sessionId } = await pipe.send('Target.attachToTarget', { targetId, flatten: true })
    page.#pipe = pipe
    page.#session = sessionId
    const sessions = page.#sessions
    const watch = async (session) => {
      sessions.add(session)
      const enable = ['Log.enable', 'Runtime.enable', 'Network.enable'].map((method) => pipe.send(method, {}, session))
      const auto = { autoAttach: true, waitForDebuggerOnStart: true, flatten: true }
      await Promise.all([...enable, pipe.send('Target.setAutoAttach', auto, session)])
      await pipe.send('Runtime.runIfWaitingForDebugger', {}, session)
    }
    pipe.on(({ method, params, sessionId: from }) => {
      if (!sessions.has(from)) return
      // A frame of another site is a target of its own; it may be gone before it is watched.
      if (method === 'Target.attachedToTarget') watch(params.sessionId).catch(() => {})
      else if (method === 'Target.detachedFromTarget') sessions.delete(params.sessionId)
      else page.#notice(method, params)
    })
    await watch(sessionId)
    await page.#send('Page.enable')
    return page
  }

  #send(method, params) {
    return this.#pipe.send(method, params, this.#session)
  }

  #notice(method, params) {
    if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      this.errors.push(`${params.entry.text} ${params.entry.url ?? ''}`)
    } else if (method === 'Runtime.consoleAPICalled' && params.type === 'error') {
      this.errors.push(params.args.map((argument) => argument.value ?? argument.description).join(' '))
    } else if (method === 'Runtime.exceptionThrown') {
      this.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text)
    } else if (method === 'Network.requestWillBeSent') {
      this.requests.push({ method: params.request.method, url: params.request.url })
    } else if (method === 'Network.responseReceived') {
      this.responses.push({ status: params.response.status, url: params.response.url })
    }
  }

  async goto(url) {
    const { errorText } = await this.#send('Page.navigate', { url })
    assert.equal(errorText, undefined, `${url}: ${errorText}`)
  }

  /** The value of an expression in the page, awaited. */
  async evaluate(expression) {
    const answer = await this.#send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
    const { result, exceptionDetails } = answer
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
    return result.value
  }

  /** The values of an expression in the frames of other sites. */
  async inFrames(expression) {
    const frames = [...this.#sessions].filter((session) => session !== this.#session)
    const ask = (session) => this.#pipe.send('Runtime.evaluate', { expression, returnByValue: true }, session)
    return (await Promise.all(frames.map(ask))).map(({ result }) => result.value)
  }

  /** Waits until an expression is true in whatever page is there then. */
  async until(expression) {
    const deadline = Date.now() + PATIENCE
    for (;;) {
      // While a page gives way to the next, there is none to ask.
      if (await this.evaluate(expression).catch(() => false)) return
      if (Date.now() > deadline) {
        const seen = await this.evaluate('location.href + "\\n" + document.body?.innerText').catch(String)
        throw new Error(`not within ${PATIENCE / 1000} s: ${expression}\n${seen}\n${this.errors.join('\n')}`)
      }
      await sleep(20)
    }
  }

  /** Clicks with the mouse, as soon as the element takes it. */
  async click(selector) {
    const element = `document.querySelector(${JSON.stringify(selector)})`
    await this.until(`${element} && document.readyState === 'complete' && getComputedStyle(${element}).pointerEvents !== 'none'`)
    const { x, y } = await this.evaluate(
      `(() => { const e = ${element}; e.scrollIntoView({ block: 'center' }); const b = e.getBoundingClientRect();
        return { x: b.x + b.width / 2, y: b.y + b.height / 2 } })()`,
    )
    const at = { x, y, button: 'left', clickCount: 1 }
    await this.#send('Input.dispatchMouseEvent', { ...at, type: 'mousePressed' })
    await this.#send('Input.dispatchMouseEvent', { ...at, type: 'mouseReleased' })
  }

  /** The page as on a phone, light and dark: two files in the folder of the tests. Pages of others may want to be wider. */
  async photograph(name, width = 390) {
    const folder = join(process.env.TSIDECAR_TLS, '..', 'screenshots')
    mkdirSync(folder, { recursive: true })
    const phone = { width, height: 844, deviceScaleFactor: 2, mobile: true }
    await this.#send('Emulation.setDeviceMetricsOverride', phone)
    const widest = await this.evaluate('document.documentElement.scrollWidth')
    assert.ok(widest <= width, `${name} is ${widest} px wide on a screen of ${width}`)
    for (const value of ['light', 'dark']) {
      await this.#send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] })
      const { data } = await this.#send('Page.captureScreenshot', { format: 'png' })
      writeFileSync(join(folder, `${name}-${value}.png`), Buffer.from(data, 'base64'))
    }
    await this.#send('Emulation.setEmulatedMedia', { features: [] })
    await this.#send('Emulation.clearDeviceMetricsOverride')
  }
}

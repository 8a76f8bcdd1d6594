// A demonstration of one's own: the daemon with further clients, its issuer behind TLS, and applications on TLS beside it.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const tls = process.env.TSIDECAR_TLS
if (!tls) throw new Error('TSIDECAR_TLS is not set: start these tests with tests/clients/run')

/** The authority that signed for all hosts here. */
export const ca = join(tls, 'ca.pem')
const [key, cert] = ['key.pem', 'cert.pem'].map((name) => readFileSync(join(tls, name)))

/** Serves over TLS on a free port of loopback, by a name that the certificate has. Gives the origin. */
export async function serve(name, handler) {
  const server = https.createServer({ key, cert }, handler)
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  return {
    origin: `https://${name}:${server.address().port}`,
    stop: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Starts the daemon with these tables of configuration; its issuer is `https://localhost:PORT`. */
export async function start(tables) {
  let address
  const front = await serve('localhost', (request, response) => {
    const { method, url: path, headers } = request
    const onward = http.request({ ...address, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  const daemon = await demonstrate(front.origin, tables)
  const [host, port] = daemon.address.split(':')
  address = { host, port }
  return {
    issuer: front.origin,
    log: daemon.log,
    async stop() {
      await daemon.stop()
      front.stop()
    },
  }
}

/** Starts `tsidecar demo` with these tables of configuration, for an issuer that is served by something in front of it. */
export async function demonstrate(issuer, tables) {
  const folder = mkdtempSync(join(tmpdir(), 'tsidecar-clients-'))
  const file = join(folder, 'tables.toml')
  writeFileSync(file, tables)
  const args = ['demo', '--port', '0', '--json', '--issuer', issuer, '--tables', file]
  const daemon = spawn(process.env.TSIDECAR_BINARY, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const log = []
  daemon.stderr.on('data', (text) => log.push(text))
  const ended = new Promise((end) => daemon.once('exit', end))
  const line = await new Promise((resolve, reject) => {
    let text = ''
    daemon.stdout.on('data', (more) => {
      text += more
      if (text.includes('\n')) resolve(text.split('\n')[0])
    })
    daemon.once('error', reject)
    daemon.once('exit', (code) => reject(new Error(`tsidecar demo ended with ${code}: ${Buffer.concat(log)}`)))
  })
  return {
    ...JSON.parse(line),
    log: () => String(Buffer.concat(log)),
    async stop() {
      daemon.kill()
      await ended
      rmSync(folder, { recursive: true })
    },
  }
}

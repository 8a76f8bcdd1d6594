// A front between clients and the daemon: notes every request, and answers in the daemon's place where a test wants a fault.
//
// As a program (`node front.mjs`, for tests in other languages) it prints {"origin":…}, takes lines of JSON from standard input,
// {"forward":"HOST:PORT"} and {"fault":{…}}, and prints every request with its answer as a line of JSON.
import http from 'node:http'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const CORS = { 'access-control-allow-origin': '*' }

/** Listens on a free port of loopback; everything is answered with 503 until it is told where to forward. */
export async function open() {
  const requests = []
  const faults = []
  const watchers = new Set()
  let target
  const note = (entry) => {
    requests.push(entry)
    for (const watcher of watchers) watcher(entry)
  }
  const server = http.createServer(async (request, response) => {
    const { method, url, headers } = request
    const { pathname, searchParams } = new URL(url, 'http://front')
    const sent = await bytes(request)
    const entry = { method, path: pathname, query: Object.fromEntries(searchParams), headers, body: parsed(headers, sent) }
    const fault = faults.find((one) => one.times > 0 && applies(one, entry))
    if (fault) {
      fault.times -= 1
      const text = JSON.stringify(fault.answer)
      response.writeHead(fault.status, { 'content-type': 'application/json', ...CORS, ...fault.headers }).end(text)
      note({ ...entry, status: fault.status, answer: fault.answer, fault: true })
      return
    }
    if (!target) {
      response.writeHead(503).end()
      return
    }
    const onward = http.request({ ...target, method, path: url, headers }, async (answer) => {
      const text = await bytes(answer)
      note({ ...entry, status: answer.statusCode, answerHeaders: answer.headers, answer: parsed(answer.headers, text) })
      response.writeHead(answer.statusCode, answer.rawHeaders).end(text)
    })
    onward.on('error', () => response.destroy())
    onward.end(sent)
  })
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    requests,
    /** Forwards from now on, to `HOST:PORT`. */
    forward(address) {
      const [host, port] = address.split(':')
      target = { host, port }
    },
    /** Answers requests to a path, whose body has these members, so many times by itself. */
    fault: ({ path, match = {}, times = 1, status, answer, headers = {} }) =>
      faults.push({ path, match, times, status, answer, headers }),
    watch: (watcher) => watchers.add(watcher),
    stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}

const applies = ({ path, match }, entry) =>
  entry.path === path && Object.entries(match).every(([name, value]) => entry.body?.[name] === value)

async function bytes(stream) {
  const parts = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

/** A form or JSON as an object, anything else as text. */
function parsed(headers, buffer) {
  const type = headers['content-type'] ?? ''
  const text = String(buffer)
  if (type.startsWith('application/x-www-form-urlencoded')) return Object.fromEntries(new URLSearchParams(text))
  if (!type.startsWith('application/json')) return text
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const front = await open()
  console.log(JSON.stringify({ origin: front.origin }))
  front.watch((entry) => console.log(JSON.stringify(entry)))
  for await (const line of createInterface({ input: process.stdin })) {
    const { forward, fault } = JSON.parse(line)
    if (forward) front.forward(forward)
    if (fault) front.fault(fault)
  }
  front.stop()
}

// Programs of others as child processes, bounded in time, and free ports for them.
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { delimiter, dirname, join } from 'node:path'

const PATIENCE = 60_000

/** A port of loopback that nobody listens on. */
export async function freePort() {
  const server = createServer()
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address()
  await new Promise((closed) => server.close(closed))
  return port
}

/** What a program that is not of this folder needs: the newer Node, and the folder with the tools that want it. */
export function newer(name) {
  const { MCP_NODE24: node, MCP_NODE24_TOOLS: tools } = process.env
  if (!node || !tools) throw new Error('MCP_NODE24 or MCP_NODE24_TOOLS is not set: start these tests with tests/clients/run')
  return { command: join(tools, name), env: { PATH: `${dirname(node)}${delimiter}${process.env.PATH}` } }
}

/** Starts a program; it is killed when it takes too long. In the end it gives all its output, and its answer: standard output. */
export function run(command, args, { env = {}, patience = PATIENCE } = {}) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  let output = ''
  let answer = ''
  const waiting = new Set()
  const look = () => {
    for (const one of waiting) one()
  }
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text) => {
      output += text
      if (stream === child.stdout) answer += text
      look()
    })
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), patience)
  child.stdin.on('error', () => {})
  const ended = new Promise((end, fail) => {
    child.once('error', fail)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      look()
      end({ code: signal ?? code, output, answer })
    })
  })
  let over = false
  const gone = ended.then(
    () => (over = true),
    () => (over = true),
  )
  return {
    stdin: child.stdin,
    ended,
    output: () => output,
    /** Waits until the output matches, and gives the match; an error with all output when the program ends before. */
    async until(pattern) {
      for (;;) {
        const match = output.match(pattern)
        if (match) return match
        if (over) throw new Error(`ended before ${pattern}:\n${output}`)
        await Promise.race([gone, new Promise((more) => waiting.add(more))])
      }
    },
    async stop() {
      child.kill()
      await gone
    },
  }
}

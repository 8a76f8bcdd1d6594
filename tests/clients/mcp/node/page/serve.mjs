// Serves the page, with the packages that it imports as they are installed.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { serve } from '../../../node/stage.mjs'

const PACKAGES = {
  '@modelcontextprotocol/client': '@modelcontextprotocol/client/dist/index.mjs',
  '@modelcontextprotocol/client/_shims': '@modelcontextprotocol/client/dist/shimsBrowser.mjs',
  '@modelcontextprotocol/core': '@modelcontextprotocol/core/dist/index.mjs',
  '@modelcontextprotocol/core/internal': '@modelcontextprotocol/core/dist/internal.mjs',
  eventsource: 'eventsource/dist/index.js',
  'eventsource-parser': 'eventsource-parser/dist/index.js',
  'eventsource-parser/stream': 'eventsource-parser/dist/stream.js',
  jose: 'jose/dist/webapi/index.js',
  'pkce-challenge': 'pkce-challenge/dist/index.browser.js',
  'zod/v4': 'zod/v4/index.js',
}
const imports = Object.fromEntries(Object.entries(PACKAGES).map(([name, file]) => [name, `/node_modules/${file}`]))
const HTML = `<!doctype html><title>Notes</title><link rel="icon" href="data:,"><pre id="result"></pre>
<script type="importmap">${JSON.stringify({ imports })}</script><script type="module" src="/page/page.js"></script>`

/** Serves it at a name; the same for every path that is no file of it. */
export const servePage = (name) =>
  serve(name, async (request, response) => {
    const { pathname } = new URL(request.url, 'https://page')
    if (!/^\/(node_modules|page)\/[\w@./-]+\.m?js$/.test(pathname) || pathname.includes('..')) {
      response.setHeader('content-type', 'text/html').end(HTML)
      return
    }
    response.setHeader('content-type', 'text/javascript')
    response.end(await readFile(fileURLToPath(new URL(`..${pathname}`, import.meta.url))))
  })

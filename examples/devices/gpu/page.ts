// A page that shows a guest's screen live, on this machine only: the picture as /screen.png, and an event for each time the guest
// has drawn.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import { type AddressInfo } from 'node:net'

import { type Frame } from './pixels.js'
import { pngOf } from './png.js'

/** At most so many pictures a second; of those between, the page shows the last. */
const MOST_PER_SECOND = 10

const PAGE = `<!doctype html>
<html lang="en">
  <meta charset="utf-8">
  <title>Guest screen</title>
  <style>
    body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #222; color: #ddd; font: 1rem sans-serif }
    img { max-width: 100%; image-rendering: pixelated }
    img[hidden] + p { display: block }
    p { display: none }
  </style>
  <body>
    <img id="screen" alt="The screen of the guest" hidden>
    <p>The screen is off.</p>
    <script>
      const screen = document.getElementById('screen')
      let busy = false
      let again = false
      const show = async () => {
        if (busy) { again = true; return }
        busy = true
        do {
          again = false
          const next = new Image()
          next.src = '/screen.png?' + Date.now()
          try {
            await next.decode()
            screen.src = next.src
            screen.hidden = false
          } catch {
            screen.hidden = true
          }
        } while (again)
        busy = false
      }
      new EventSource('/events').onmessage = show
    </script>
  </body>
</html>
`

export class ScreenPage {
  readonly #server: Server
  readonly #frame: () => Frame | undefined
  readonly #watchers = new Set<ServerResponse>()
  #timer: NodeJS.Timeout | undefined

  private constructor(server: Server, frame: () => Frame | undefined) {
    this.#server = server
    this.#frame = frame
    server.on('request', (request: IncomingMessage, response: ServerResponse) =>
      this.#answer(request, response),
    )
  }

  /** @param port 0 takes a free one */
  static async listen(port: number, frame: () => Frame | undefined): Promise<ScreenPage> {
    const server = createServer()
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return new ScreenPage(server, frame)
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`
  }

  /** The guest has drawn. */
  drawn(): void {
    if (this.#watchers.size === 0) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      for (const watcher of this.#watchers) watcher.write('data: drawn\n\n')
    }, 1000 / MOST_PER_SECOND)
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#server.close()
    this.#server.closeAllConnections()
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    // A page of elsewhere whose name was made to lead here must not see the screen.
    if (!/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host ?? '')) {
      response.writeHead(403).end()
      return
    }
    const path = (request.url ?? '/').replace(/\?.*/, '')
    if (request.method !== 'GET') response.writeHead(405).end()
    else if (path === '/') response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(PAGE)
    else if (path === '/screen.png') this.#picture(response)
    else if (path === '/events') this.#watch(response)
    else response.writeHead(404).end()
  }

  #picture(response: ServerResponse): void {
    const frame = this.#frame()
    if (frame === undefined) response.writeHead(404).end()
    else
      response.writeHead(200, { 'content-type': 'image/png', 'cache-control': 'no-store' }).end(pngOf(frame))
  }

  #watch(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    // The picture that is there.
    response.write('data: drawn\n\n')
    this.#watchers.add(response)
    response.on('close', () => this.#watchers.delete(response))
  }
}

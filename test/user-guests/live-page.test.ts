// The live page in a browser: what a person sees is what the guest painted, and it follows by itself.
import { spawnSync } from 'node:child_process'
import test from 'ava'

import { colourOf, HEIGHT, liveScreen, WIDTH } from '../qtest/live-screen.js'
import { CHROMIUM, openPage } from './browser.js'

const there = spawnSync(CHROMIUM, ['--version']).error === undefined
const inBrowser = there ? test : test.skip
const missing = there ? '' : ` (needs ${CHROMIUM}, a package of Debian's)`

/** The colours of what the page shows, or null while it shows nothing. */
const SHOWN = `(() => {
  const screen = document.getElementById('screen')
  if (screen === null || screen.hidden || !screen.complete) return null
  const canvas = new OffscreenCanvas(screen.naturalWidth, screen.naturalHeight)
  const context = canvas.getContext('2d')
  context.drawImage(screen, 0, 0)
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height)
  const colours = []
  for (let i = 0; i < data.length; i += 4) colours.push((data[i] << 16) | (data[i + 1] << 8) | data[i + 2])
  return { width, height, colours }
})()`

inBrowser(
  `a browser shows what the guest paints, and the next picture without being asked${missing}`,
  async (t) => {
    const { url, turnOn, paint, end } = await liveScreen(t)
    const page = await openPage(t, url)
    await turnOn()
    for (const picture of [1, 2, 3]) {
      const wanted = {
        width: WIDTH,
        height: HEIGHT,
        colours: Array.from({ length: WIDTH * HEIGHT }, (_, i) => colourOf(picture, i)),
      }
      await paint(picture)
      let shown = await page.evaluate(SHOWN)
      for (const limit = Date.now() + 30_000; Date.now() < limit; shown = await page.evaluate(SHOWN)) {
        if (JSON.stringify(shown) === JSON.stringify(wanted)) break
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      t.deepEqual(shown, wanted, `picture ${picture}`)
    }
    t.is(await end(), 0)
  },
)

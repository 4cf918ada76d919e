// The npm packages to stand beside, as far as they are used here. They are installed in bench/, and one that could not be
// installed costs its column only.
import { createRequire } from 'node:module'

import { ROOT } from './limits.js'

export interface Koffi {
  load(path: string): { func(prototype: string): (...args: number[]) => number }
}

export interface Epoll {
  add(fd: number, events: number): Epoll
  remove(fd: number): Epoll
  close(): void
}

export interface EpollModule {
  Epoll: {
    new (callback: (error: Error | null, fd: number, events: number) => void): Epoll
    readonly EPOLLIN: number
  }
}

interface Peers {
  koffi: Koffi
  epoll: EpollModule
}

const require = createRequire(`${ROOT}bench/package.json`)

/** A peer, or the reason why there is none here. */
export function peer<Name extends keyof Peers>(name: Name): Peers[Name] | { none: string } {
  try {
    return require(name) as Peers[Name]
  } catch (error) {
    return { none: `npm's ${name} does not load here: ${(error as Error).message.split('\n')[0]!}` }
  }
}

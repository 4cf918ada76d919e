// What the threads of the message fuzzer tell each other.

/** Whom a round is after: messages to the server are made up beside the client's own, the server's replies are altered, or both. */
export const AIMS = ['server', 'client', 'both'] as const
export type Aim = (typeof AIMS)[number]

export interface MiddleData {
  readonly seed: number
  /** Where clients connect, and where the server is. */
  readonly listen: string
  readonly server: string
}

export interface ServingData {
  readonly path: string
  readonly mode: 'loop' | 'thread'
}

/** What has gone by, and what became of it. */
export interface MiddleFigures {
  rounds: number
  /** Messages made up or altered, by whom they went to. */
  toServer: number
  toClient: number
  /** Of those to the server, how many it answered, and how many of these with an error. */
  answered: number
  refused: number
  /** Descriptors that were attached to messages that had none. */
  descriptors: number
  /** Who hung up first. */
  serverHungUp: number
  clientHungUp: number
}

export type MiddleMessage =
  { readonly kind: 'ready' } | { readonly kind: 'figures'; readonly figures: MiddleFigures }

export type ServingMessage =
  | { readonly kind: 'ready' }
  /** An error that a client must not be able to cause. */
  | { readonly kind: 'finding'; readonly text: string }
  | {
      readonly kind: 'figures'
      readonly clients: number
      readonly messages: number
      readonly refused: number
    }

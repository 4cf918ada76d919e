// The rig's own voice: short lines on stderr, so that stdout carries nothing but the command's output.

let muted = false

export const quieten = (quiet) => {
  muted = quiet
}

export const say = (text) => {
  if (!muted) process.stderr.write(`rig: ${text}\n`)
}

export const warn = (text) => process.stderr.write(`rig: ${text}\n`)

export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`

/** A failure with a remedy in its message: shown without a stack. */
export class RigError extends Error {}

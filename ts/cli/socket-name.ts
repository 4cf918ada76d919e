// How a command names a device on a vfio-user socket: `user:PATH`. Imports nothing.
const USER = 'user:'

/** The path of the socket that is named; null for a device of the host's. */
export function socketOf(id: string): string | null {
  return id.startsWith(USER) && id.length > USER.length ? id.slice(USER.length) : null
}

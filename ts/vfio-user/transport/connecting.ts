// What to do where a socket cannot be connected to, by the errno. Imports nothing.

export const CONNECT_REMEDIES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Nobody listens there: start the server, or remove the file that it left.',
  ENOENT: 'There is no such socket: start the server first.',
  EACCES: 'Connecting takes the right to write to the socket: chown $USER it, or run as its owner.',
  EAGAIN: 'As many others wait there as the server lets wait: try again.',
  ENAMETOOLONG: 'A path of a socket has 107 bytes at most: use a shorter one, or a relative one.',
}

// What it means when a message of vfio-user fails, by the message and the errno alone: the server refused it, or the connection
// came to its end. Knows nothing of the objects.

interface Refusal {
  reason?: 'timeout' | 'device-lost' | 'no-feature' | 'mapping-limit'
  remedy: string
}

const AGAIN = 'close the device and connect again'

/** Whatever the message was. */
const ENDS: Record<string, Refusal> = {
  ETIMEDOUT: {
    reason: 'timeout',
    remedy: `The server did not answer in time (option timeoutMs), and what it may still say belongs to nothing any more: ${AGAIN}.`,
  },
  ECONNRESET: { reason: 'device-lost', remedy: `The server has closed the connection, or ended: ${AGAIN}.` },
  ENOTCONN: {
    reason: 'device-lost',
    remedy: `The connection was given up when the server did not answer, closed it, or broke the protocol: ${AGAIN}.`,
  },
  EBADMSG: {
    reason: 'device-lost',
    remedy: `The server sent a reply to nothing that was asked; the connection is given up: ${AGAIN}.`,
  },
  EMSGSIZE: {
    reason: 'device-lost',
    remedy: `The server sent a message longer than any may be; the connection is given up: ${AGAIN}.`,
  },
  EPROTO: {
    remedy:
      'The server broke the protocol: an answer too short, or not of its kind, or a refusal without a reason.',
  },
  ECANCELED: { remedy: 'The Worker was told to end while it waited for the server.' },
}

const REFUSALS: Record<string, Refusal> = {
  'VFIO_USER_DMA_MAP EEXIST': {
    remedy: 'Part of the range is mapped already; unmap it or choose another iova.',
  },
  'VFIO_USER_DMA_UNMAP EINVAL': { remedy: 'The range cuts a mapping in two: unmap whole mappings.' },
  'VFIO_USER_DEVICE_RESET EINVAL': { remedy: 'The server has no reset of the device.' },
  'VFIO_USER_REGION_READ EINVAL': { remedy: 'The device does not take an access of this width here.' },
  'VFIO_USER_REGION_WRITE EINVAL': { remedy: 'The device does not take an access of this width here.' },
}

export function userRefusal(syscall: string, code: string): Refusal | undefined {
  return REFUSALS[`${syscall} ${code}`] ?? ENDS[code]
}

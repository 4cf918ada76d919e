"""The other end of QEMU's ivshmem-doorbell: hands the device its shared memory and its interrupt eventfds.

Node cannot pass file descriptors over a UNIX socket, which is all this protocol is about. One device is
served, as peer 0; a doorbell it rings at peer 0 comes back to itself. Ends when its standard input does.
"""

import os
import socket
import struct
import sys

PROTOCOL_VERSION = 0
PEER = 0
SHARED_MEMORY = -1

path, size, vectors = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(path)
listener.listen(1)
print("ready", flush=True)
device, _ = listener.accept()


def send(value, fd=None):
    socket.send_fds(device, [struct.pack("<q", value)], [] if fd is None else [fd])


memory = os.memfd_create("ivshmem")
os.ftruncate(memory, size)
send(PROTOCOL_VERSION)
send(PEER)
send(SHARED_MEMORY, memory)
for _ in range(vectors):
    send(PEER, os.eventfd(0))

sys.stdin.read()

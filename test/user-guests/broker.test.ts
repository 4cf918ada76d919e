// Real devices for an unprivileged VMM: in the rig, `vfio serve` gives its edu, e1000e and nvme to a stock QEMU, in whose guest Debian's
// own drivers move packets and write a disk.
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import test from 'ava'

import { temporaryFolder } from '../temporary.js'
import { findQemu } from '../qtest/qemu.js'
import type { BrokeredGuest } from './brokered-main.js'

const RIG = new URL('../../../rig/index.mjs', import.meta.url).href
const MAIN = fileURLToPath(new URL('./brokered-main.js', import.meta.url))

interface Rig {
  stockGuest(guest: { folder: string; modules: readonly string[]; script: string }): Promise<string[]>
  runInRig(options: {
    command: readonly string[]
    timeout: number
    stdout: Writable
    stderr: Writable
  }): Promise<{ status: number; gist: readonly string[] }>
}

const SCRIPT = `
for device in /sys/bus/pci/devices/*; do
  driver=$(readlink $device/driver)
  echo pci \${device##*/} $(cat $device/vendor) $(cat $device/device) \${driver##*/}
done

edu=/sys/bus/pci/devices/0000:00:04.0
echo 1 >$edu/enable
bar=$(head -n 1 $edu/resource | cut -d ' ' -f 1)
echo edu identification $(devmem $bar 32)
devmem $((bar + 8)) 32 12
sleep 1
echo edu factorial $(devmem $((bar + 8)) 32)
echo 0 >$edu/enable

ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
tries=0
while [ "$(cat /sys/class/net/eth0/carrier)" != 1 ] && [ $tries -lt 300 ]; do sleep 0.1; tries=$((tries + 1)); done
arping -f -c 10 -I eth0 10.0.2.2
udhcpc -i eth0 -n -q -t 10 -s /bin/true
echo packets $(cat /sys/class/net/eth0/statistics/tx_packets) $(cat /sys/class/net/eth0/statistics/rx_packets)

tries=0
while [ ! -b /dev/nvme0n1 ] && [ $tries -lt 300 ]; do sleep 0.1; tries=$((tries + 1)); done
dd if=/dev/urandom of=/written bs=64k count=16 2>/dev/null
dd if=/written of=/dev/nvme0n1 bs=64k conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/nvme0n1 of=/read bs=64k count=16 2>/dev/null
cmp /written /read && echo disk read as written
echo disk $(cat /sys/block/nvme0n1/size) $(md5sum </written)
grep -E 'eth0|nvme' /proc/interrupts | while read -r line; do echo interrupts $line; done
`

/** Takes what is written, line by line. */
function collector(lines: string[]): Writable {
  let rest = ''
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      const parts = (rest + chunk.toString()).split('\n')
      rest = parts.pop() ?? ''
      lines.push(...parts)
      done()
    },
  })
}

test('a stock guest’s drivers have devices from brokers, in a QEMU without privileges', async (t) => {
  t.timeout(20 * 60_000)
  const { stockGuest, runInRig } = (await import(RIG)) as Rig
  const qemu = await findQemu()
  const args = await stockGuest({
    folder: temporaryFolder(t, 'brokered'),
    modules: ['e1000e', 'nvme'],
    script: SCRIPT,
  })
  const guest: BrokeredGuest = {
    program: qemu.program,
    // The machine is emulated already: its processor does in hardware what a second emulation would take minutes for.
    args: [...qemu.args, ...args.map((each) => (each === 'tcg' ? 'kvm' : each))],
    env: qemu.env.QEMU_MODULE_DIR === undefined ? {} : { QEMU_MODULE_DIR: qemu.env.QEMU_MODULE_DIR },
    devices: { '04.0': 'edu', '05.0': 'e1000e', '06.0': 'nvme' },
  }
  const lines: string[] = []
  const complaints: string[] = []
  const { status, gist } = await runInRig({
    command: [process.execPath, MAIN, JSON.stringify(guest)],
    timeout: 900,
    stdout: collector(lines),
    stderr: collector(complaints),
  })
  // The brokers say much, and a failure shows its first lines: where it ended comes first.
  const all = [...gist, ...complaints, ...lines.toReversed()].join('\n')
  t.is(status, 0, all)
  const said = (start: string): string[] => lines.filter((line) => line.startsWith(start))
  t.deepEqual(said('guest pci 0000:00:05.0'), ['guest pci 0000:00:05.0 0x8086 0x10d3 e1000e'], all)
  t.deepEqual(said('guest pci 0000:00:06.0'), ['guest pci 0000:00:06.0 0x1b36 0x0010 nvme'])
  t.deepEqual(said('guest edu'), ['guest edu identification 0x010000ED', 'guest edu factorial 0x1C8CFC00'])
  const [packets = ''] = said('guest packets')
  const [sent = 0, received = 0] = packets.split(' ').slice(2).map(Number)
  t.true(sent >= 1 && received >= 1, all)
  t.is(said('guest disk read as written').length, 1, all)
  // Both interrupts reached the guest.
  for (const name of ['eth0', 'nvme0q'])
    t.true(
      said('guest interrupts').some((line) => line.includes(name) && /: +[1-9]/.test(line)),
      all,
    )
  t.deepEqual(said('qemu'), ['qemu 0'])
  // The brokers of what can be reset wait for the next client; that of edu has ended.
  t.deepEqual(said('served').sort(), ['served 0', 'served 0', 'served 1'], all)
})

// native/uapi against the manifest of the kernel's headers, and the manifest against headers that are installed.
import test from 'ava'

interface Manifest {
  linux: string
  headers: Record<string, { ioctls: object; constants: object; structures: object }>
}

const script = async (name: string): Promise<unknown> =>
  import(new URL(`scripts/uapi/${name}`, import.meta.resolve('#package.json')).href)

const { manifestOf, readManifest, compareManifests, versionOf } = (await script('manifest.mjs')) as {
  manifestOf: (include: string) => Manifest | undefined
  readManifest: () => Manifest
  compareManifests: (ours: Manifest, theirs: Manifest) => { differences: string[]; added: string[] }
  versionOf: (include: string) => string | undefined
}
const { checkLayout } = (await script('layout.mjs')) as {
  checkLayout: (manifest: Manifest) => {
    problems: string[]
    constants: Map<string, string>
    structures: Map<string, string>
  }
}

const INSTALLED = '/usr/include'

const number = (version = '0.0') => {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major * 1000 + minor
}

test('every structure and number of native/uapi is the one of the manifest', (t) => {
  const { problems, constants, structures } = checkLayout(readManifest())
  t.deepEqual(problems, [])
  t.true(constants.size > 60)
  t.true(structures.size > 25)
})

test('a size, an offset or a number that differs is found', (t) => {
  const manifest = readManifest()
  const headers = structuredClone(manifest.headers) as Record<
    string,
    {
      ioctls: Record<string, string>
      constants: Record<string, number>
      structures: Record<string, { size: number; members: Record<string, [number, number]> }>
    }
  >
  const vfio = headers['vfio.h']!
  vfio.ioctls.VFIO_DEVICE_RESET = '0x3b70'
  vfio.structures.vfio_region_info!.size = 40
  vfio.structures.vfio_irq_set!.members.index = [12, 4]
  const { problems } = checkLayout({ ...manifest, headers })
  t.is(problems.length, 3, problems.join('\n'))
  t.regex(problems.join('\n'), /kDeviceReset is 15215, VFIO_DEVICE_RESET is 0x3b70/)
  t.regex(problems.join('\n'), /RegionInfo: 32 bytes, vfio_region_info has 40/)
  t.regex(problems.join('\n'), /IrqSet\.index: 4 bytes at 8, vfio_irq_set has 4 bytes at 12/)
})

test('the manifest says what headers that are installed and new enough say', (t) => {
  const manifest = readManifest()
  const installed = versionOf(INSTALLED)
  if (number(installed) < number(manifest.linux)) {
    t.log(`installed are the headers of Linux ${installed ?? '(none)'}, older than ${manifest.linux}`)
    t.pass()
    return
  }
  const theirs = manifestOf(INSTALLED)
  t.truthy(theirs)
  const { differences, added } = compareManifests(manifest, theirs!)
  // A newer kernel adds: that is news, not an error.
  for (const name of added) t.log(`new in Linux ${installed!}: ${name}`)
  t.deepEqual(differences, [])
})

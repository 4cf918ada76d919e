// Names of the API in messages that reach who uses the command: there they are arguments and options of the command. It must not
// know what any of them does.

/** Members of a change, by what the command calls them. */
const CHANGES: Readonly<Record<string, string>> = {
  device: '<device>',
  numVfs: '<n>',
  parent: '<parent>',
  type: '<type>',
  uuid: '<uuid>',
  id: '<id>',
  to: '--no-driver',
}

/** `someOption` -> `--some-option`. */
const asOption = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

/** Sentences of errors that say how a program does it, where the command does otherwise. */
const SENTENCES: readonly [RegExp, string][] = [
  [/pass it as vfToken/g, 'a program can pass it; this command cannot'],
  [
    /Pass iommu: 'noiommu' to open it anyway/g,
    'A program can open it anyway (iommu: noiommu); this command does not',
  ],
  [/: open it by its group, iommu: 'type1v2'/g, ''],
  [/ \(see (?:region\.flags|info\.resettable)\)/g, ''],
  [/ \(info\.resettable is false\)/g, ''],
]

/** The same message in the command's words. */
export function inWordsOfTheCommand(message: string): string {
  const told = SENTENCES.reduce((text, [pattern, words]) => text.replace(pattern, words), message)
  return told
    .replace(/\bchange\.(\w+)/g, (_all, name: string) => CHANGES[name] ?? asOption(name))
    .replace(/\boptions\.(\w+)/g, (_all, name: string) => asOption(name))
}

// Pieces of HTML: whatever is put into one is escaped, unless it is a piece itself. It must not know any page.

/** Markup that may be put into a page as it is. */
export class Markup {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

export const escaped = (text: string): string => text.replace(/[&<>"']/g, (each) => ENTITIES[each] ?? each)

type Piece = string | number | Markup | null | readonly Piece[]

function written(piece: Piece): string {
  if (piece === null) return ''
  if (piece instanceof Markup) return piece.text
  if (typeof piece === 'object') return piece.map(written).join('')
  return escaped(String(piece))
}

/** A template whose values are escaped; null is nothing. */
export const html = (texts: TemplateStringsArray, ...pieces: readonly Piece[]): Markup =>
  new Markup(texts.reduce((all, text, index) => all + written(pieces[index - 1] ?? null) + text))

/** A source that is an address on the web leads there. */
export function link(source: string): Markup {
  const [, address, rest] = /^(https:\/\/[\w./#%-]+)(.*)$/s.exec(source) ?? []
  return address === undefined ? html`${source}` : html`<a href="${address}">${address}</a>${rest ?? ''}`
}

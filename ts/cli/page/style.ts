// How the pages of `vfio merged --html` look, on a screen, in the dark, and on paper.
import { Markup } from './markup.js'

export const STYLE = new Markup(`
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin: 0; } h3 { font-size: 1.05rem; } h4 { margin: .6rem 0 .3rem; }
small { opacity: .75; font-weight: normal; overflow-wrap: anywhere; }
article { border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.2rem; margin: 1.2rem 0; }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: .15rem 1rem; margin: .5rem 0; }
dt { opacity: .75; } dd { margin: 0; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 1.1rem; }
.badge { font-size: .8rem; border: 1px solid var(--line); border-radius: 1rem; padding: 0 .6rem; white-space: nowrap; }
.merged.merged .badge, .used .badge { background: #2a71; border-color: #2a7; }
.possible .badge, .ready .badge { background: #27c2; border-color: #27c; }
.security > summary .badge, .crash > summary .badge { background: #c332; border-color: #c33; }
.broken > summary .badge { background: #c832; border-color: #c83; }
.way { border-left: 3px solid var(--line); padding-left: .8rem; margin: .6rem 0; }
details { border-top: 1px solid var(--line); padding: .3rem 0; } summary { cursor: pointer; }
.groups { display: flex; flex-wrap: wrap; gap: .6rem; margin: .6rem 0; }
.group { border: 1px dashed var(--line); border-radius: 6px; padding: .4rem .6rem; background: var(--soft); font-size: .85rem; }
.member { border: 1px solid var(--line); border-radius: 4px; padding: 0 .4rem; margin-top: .3rem; }
.member small { margin-left: .6rem; } .own { border-color: #27c; }
@media print { details { break-inside: avoid; } body { max-width: none; } }
`)

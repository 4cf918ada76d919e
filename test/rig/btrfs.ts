// An empty btrfs of 64 MiB, as `mkfs.btrfs --mixed --metadata single --data single` (btrfs-progs 6.2) makes it: tests need no
// package for it. Only blocks that are not empty are kept.
import { closeSync, openSync, writeSync } from 'node:fs'
import { brotliDecompressSync } from 'node:zlib'

const BLOCK = 4096
/** First block and number of blocks of each part. */
const PARTS = [
  [16, 1],
  [256, 11],
  [1280, 12],
] as const
const BLOCKS = [
  'V/9/AeJ5kJ01TkGLEgtn+tE3+HiA/87ec0fZ9X1/rbMVU3kqT+VHpP2CUjmFPLUcACVBlw5l/5ermp69dN+bmvJ3gFBYyvel95EpfITBIlmibt',
  'U9CmcmvJnJDs8rTPjcFWrLIyTCoQwShDvF4zhjZocn8EsK9RuPEBbjDmKYqg+StM9Mr62B8FGKl5w9ALv7rhddM49SB/QRQADssc5GW0/cZo/N',
  'CwAVIHruGBnoggIQACLbGIMcS6kD66fkwUQZcHk3Q/BY9/v60HM3CVvsXG9713+t5aa/MvZ/b/eaMgkvrgB8QgRKkAAIIFmcn3RAABCXude3y9',
  'fbrnTntSqQA4iQA7Qb0WOFKmc77qPjeoLeqwoUg7rW1KlGRExFBxNfC1/zJ1+7lQmrCEF72RaUsrVKm8GbEs+Ie93+VxkEgHHXhbD3JS9eue+z',
  'my9226Krb/33Yw99kgNSQAoB8EYArDJs7FnV7V8OUdVbVM2clRgMALR8YiQe5gcJCLPh8FSNihRseLx2vAcGLxoEIKIKCJA8tcNAhKsAhw4zG0',
  'SoQz10fzxACaa15Itd820jeZ1MBGiKWM2S1+kQqiXmt+R1NoQqsR9KyLGfqhZ/ZsnrxhBqtHjbktd9X0cKADx94eP7nNTa1NZwrcQ78/CHDw8C',
  '4DeldJxJEoAUYQAQ0z8N2nCZLXvP3AsDe17Ib+2NwwGADBAgAJ4hwrRhWp43plBorqzwlD3eyecOXSz88gfYAYDcM97wUm/sCL/6AXYAoIF4b6',
  'x19C/wR0t9InkYER6jBKcM0wPtCI/rrlUvhRwAAMHcyNeXPSjaKgESyKonJgCs/KtsAEAFVrMNgCkGqMonZuk/rWpupwfXmh7SCQJIaQcALgCY',
  '227xSQ+Hd7GU9xfob/GVlE0rOt+KxYELC9XOlt3WCDr1cBTVlT+gLsTndRXq+uUHmJidvupslW4v0P+u/cO0tNrPVtx03k7EBAAKUYQq+T8kV1',
  'SHZlh9rISV1pK5BqAwOt7akxZ6KAiAf6HUF1CYAEB6yWh0PSpiPVit9QBU4DEmgmN7I2O1/kMkWwMAMwMQII14y3aPvewCsHoFBYROPyTyMJN+',
  'MsjtgUyWlhyAXA4U2VyLoxS0tDShr7Dfj9CjvVxI0bWX6Z29DKAAbPvSQ/cfj1N7WZAG4DDAuw1uD/Tq0kIF2bc0K1v//adl/o7kjQAnnzGHoF',
  '9YuXQkAaGLrY4ekKmKsdHv49u14S2oq5pzf0EoiDfn01e9whXz8depIN847H+dPdGQXBwKOILEUkuljd2wRljyw4FpX1tww485hN5FyP/zlM+9',
  'MLG08YHHbb9p9c8/1gOmfPPZaFjs2nFWgh6WbSvtf9z10desIsrKW4sADIhBAJBDfm7Swh4JGgAA/M2FCMCAAHw/xIC0XsBpvPu+e+VcxtBMAo',
  'CJ+xIAsn1LR2wD4FhdJVvbmad+y6JS1BL2iKZl4/OhelSJj1EVXkZ18DDqQhxH1d1dpzOS8AgATACUh3jhn5y6t5njibBPjkMaALKg+sg8KOsI',
  'K4H8CnSsEigUDnMGp9ZTSOPN9dN96wcBMFpfusmzAJB577pfvwEA8orMP/7acy7e5U8sMQSnTGkHAC4AmPt76rmbhldIfQGNIgAwjuUHg/7Y0q',
  'PR6HpUE7tUxAf0cgJsf100AOgWGgAZhHjz7/JHrYzRkEHfOHqKAOxKhd3utvVo1NJvowYATUEAvlTMHb3sgYsy2nXnJgCd9u4qbWLpDxet1BKl',
  'Uqmt1OldFyV2AgAXgJoK1UfmrEZQ0gwrqyfYCKyTmHvhus67nE5KOwC4BEBzj87a6ZKQLo02AaAEm1TE6muzAUCzMrfRyhsPMy4UufV9L+kaAL',
  'gAFJDL9ODUeGefdujchNcq9Z4T3JQc/X0/lgQg2RwAPJdy',
].join('')

export const BTRFS_UUID = '5ca1ab1e-0000-4000-8000-00000000000a'

/** Writes it to a disk. */
export function makeBtrfs(disk: string): void {
  const blocks = brotliDecompressSync(Buffer.from(BLOCKS, 'base64'))
  const fd = openSync(disk, 'r+')
  try {
    let from = 0
    for (const [first, count] of PARTS) {
      writeSync(fd, blocks, from, count * BLOCK, first * BLOCK)
      from += count * BLOCK
    }
  } finally {
    closeSync(fd)
  }
}

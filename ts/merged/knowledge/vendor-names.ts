// The vendors whose known issues can be searched, by the names of their folders in facts/. Apart from the search, so that a command
// can be declared without it.

export const VENDOR_NAMES = ['amd', 'intel', 'nvidia', 'any'] as const

export type VendorName = (typeof VENDOR_NAMES)[number]

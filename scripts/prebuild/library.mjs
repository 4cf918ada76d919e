// Which sources of LLVM make the C++ library inside a binary, and how it is set up. What the addon does not use, locales,
// streams and file systems, is left out: the link fails when it begins to.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { GLIBC_FLOOR } from './targets.mjs'

const [floorMajor, floorMinor] = GLIBC_FLOOR.split('.')

// The headers are those of a newer glibc. libc++ asks them how new, and would use what the floor lacks.
const AT_THE_FLOOR = `#include <features.h>
#undef __GLIBC_PREREQ
#define __GLIBC_PREREQ(major, minor) (${floorMajor} > (major) || (${floorMajor} == (major) && ${floorMinor} >= (minor)))
`

const SITE = `#pragma once
#define _LIBCPP_ABI_VERSION 2
#define _LIBCPP_ABI_NAMESPACE __node_vfio
#define _LIBCPP_DISABLE_VISIBILITY_ANNOTATIONS
#define _LIBCPP_HAS_NO_VENDOR_AVAILABILITY_ANNOTATIONS
#define _LIBCPP_HAS_NO_FILESYSTEM
#define _LIBCPP_HAS_NO_LOCALIZATION
#define _LIBCPP_HAS_NO_RANDOM_DEVICE
#define _LIBCPP_HAS_NO_TIME_ZONE_DATABASE
#define _LIBCPP_HAS_NO_UNICODE
#define _LIBCPP_HAS_NO_WIDE_CHARACTERS
#define _LIBCPP_PSTL_BACKEND_SERIAL
#define _LIBCPP_HARDENING_MODE_DEFAULT 2
`

/** Writes the two headers that LLVM's own build would make, for a C library, into a folder. */
export const writeConfiguration = (folder, libc) => {
  mkdirSync(folder, { recursive: true })
  const own = libc === 'musl' ? '#define _LIBCPP_HAS_MUSL_LIBC\n' : AT_THE_FLOOR
  writeFileSync(join(folder, '__config_site'), SITE + own)
  writeFileSync(
    join(folder, '__assertion_handler'),
    '#pragma once\n#include <__verbose_abort>\n#define _LIBCPP_ASSERTION_HANDLER(message) __builtin_trap()\n',
  )
}

const CXX = [
  '-std=c++23',
  '-fexceptions',
  '-D_LIBCPP_BUILDING_LIBRARY',
  '-D_LIBCPP_REMOVE_TRANSITIVE_INCLUDES',
]

/** The parts: folder of LLVM, sources in its `src`, folders of headers beside the usual ones, and flags. */
export const PARTS = [
  {
    folder: 'libcxx',
    sources:
      `algorithm atomic bind call_once charconv chrono condition_variable condition_variable_destructor error_category
      exception functional future hash memory mutex mutex_destructor new_handler new_helpers optional shared_mutex stdexcept
      string system_error thread typeinfo variant vector verbose_abort`
        .split(/\s+/)
        .map((name) => `${name}.cpp`),
    includes: ['libcxx/src'],
    flags: [...CXX, '-DLIBCXX_BUILDING_LIBCXXABI'],
  },
  {
    folder: 'libcxxabi',
    sources:
      `abort_message cxa_aux_runtime cxa_default_handlers cxa_exception cxa_exception_storage cxa_guard cxa_handlers
      cxa_personality cxa_thread_atexit cxa_vector cxa_virtual fallback_malloc private_typeinfo stdlib_exception
      stdlib_new_delete stdlib_stdexcept stdlib_typeinfo`
        .split(/\s+/)
        .map((name) => `${name}.cpp`),
    includes: ['libcxx/src'],
    flags: [...CXX, '-D_LIBCXXABI_BUILDING_LIBRARY', '-DLIBCXXABI_NON_DEMANGLING_TERMINATE'],
  },
  {
    folder: 'libunwind',
    sources: [
      'libunwind.cpp',
      'UnwindLevel1.c',
      'UnwindLevel1-gcc-ext.c',
      'UnwindRegistersRestore.S',
      'UnwindRegistersSave.S',
    ],
    includes: [],
    flags: ['-fno-exceptions', '-funwind-tables', '-D_LIBUNWIND_IS_NATIVE_ONLY', '-D_LIBUNWIND_HIDE_SYMBOLS'],
  },
]

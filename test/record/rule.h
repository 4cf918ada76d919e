// What of a kernel call is worth keeping: flags, ids and types, but no address, size or handle, so that a test that
// calls ten thousand times leaves a few lines. The rules themselves are made from scripts/uapi/carried.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace record {

// What a descriptor is: requests of several of them have the same number.
enum class Kind : uint8_t { kUnknown, kContainer, kGroup, kDevice, kOther, kAny };

struct Word {
  const char* name;
  size_t at;
  size_t width;
};

// A list of structures behind the argument's head: the values that one of their members has.
struct List {
  size_t countAt;
  size_t start;
  size_t stride;
  Word member;
  // Only when a bit of the head is set; 0 for always.
  size_t flagsAt;
  uint32_t flag;
};

// A word behind a pointer in the argument, there when another word of the argument has a value.
struct Through {
  size_t pointerAt;
  size_t whenAt;
  uint32_t whenIs;
  Word word;
};

struct Rule {
  const char* name;
  unsigned long request;
  Kind on;
  // The argument is no pointer, but this.
  const char* argument;
  std::vector<Word> in;
  std::vector<Word> out;
  // Where the offset of the first capability stands; 0 for none. `argsz` is at 0 then.
  size_t chainAt;
  std::vector<List> lists;
  std::vector<Through> through;
  // A feature's data follows, and says what by the feature's id.
  bool payload;
};

}  // namespace record

// Access by access, through mapped areas and the file between them.
#include "memory/bulk.h"

#include <cerrno>
#include <cstring>

#include "memory/access.h"

namespace nodevfio {

namespace {

// How much of a copy one access to the region's file is: what is wide enough to be no register's, else a register's.
Result<size_t> stepOf(const Registers& registers, uint64_t offset, size_t left) {
  const size_t most = registers.widestFile(offset, left);
  if (most == 0) return Refusal{EBADF, "closed"};
  return most > sizeof(uint64_t) ? most : registerWidth(offset, left);
}

template <typename T>
void copyOneOut(const MappedArea& area, uint64_t offset, uint8_t* target) {
  const T value = *reinterpret_cast<volatile T*>(area.base + offset);
  memcpy(target, &value, sizeof value);
}

template <typename T>
void copyOneIn(const MappedArea& area, uint64_t offset, const uint8_t* source) {
  T value;
  memcpy(&value, source, sizeof value);
  *reinterpret_cast<volatile T*>(area.base + offset) = value;
}

// Copies what lies in one mapped area; returns how many bytes that was (0: the offset is not mapped).
size_t copyOutMapped(const Registers& registers, uint64_t offset, std::span<uint8_t> target) {
  size_t done = 0;
  while (done < target.size()) {
    const size_t width = registerWidth(offset + done, target.size() - done);
    const MappedArea* area = registers.areaFor(offset + done, width);
    if (area == nullptr) break;
    uint8_t* const to = target.data() + done;
    switch (width) {
      case 8:
        copyOneOut<uint64_t>(*area, offset + done, to);
        break;
      case 4:
        copyOneOut<uint32_t>(*area, offset + done, to);
        break;
      case 2:
        copyOneOut<uint16_t>(*area, offset + done, to);
        break;
      default:
        copyOneOut<uint8_t>(*area, offset + done, to);
    }
    if (area->mapping->mark().faulted()) [[unlikely]] {
      memset(to, 0xff, width);
    }
    done += width;
  }
  orderAfterRead();
  return done;
}

size_t copyInMapped(const Registers& registers, uint64_t offset, std::span<const uint8_t> source) {
  orderBeforeWrite();
  size_t done = 0;
  while (done < source.size()) {
    const size_t width = registerWidth(offset + done, source.size() - done);
    const MappedArea* area = registers.areaFor(offset + done, width);
    if (area == nullptr) break;
    const uint8_t* const from = source.data() + done;
    switch (width) {
      case 8:
        copyOneIn<uint64_t>(*area, offset + done, from);
        break;
      case 4:
        copyOneIn<uint32_t>(*area, offset + done, from);
        break;
      case 2:
        copyOneIn<uint16_t>(*area, offset + done, from);
        break;
      default:
        copyOneIn<uint8_t>(*area, offset + done, from);
    }
    done += width;
  }
  return done;
}

}  // namespace

Result<> copyOut(Registers& registers, uint64_t offset, std::span<uint8_t> target) {
  size_t done = 0;
  while (done < target.size()) {
    done += copyOutMapped(registers, offset + done, target.subspan(done));
    if (done == target.size()) break;
    const auto width = stepOf(registers, offset + done, target.size() - done);
    if (!width) return width;
    const auto read = registers.readFile(offset + done, target.subspan(done, *width));
    if (!read) return read;
    done += *width;
  }
  registers.bulkBytes += done;
  return {};
}

Result<> copyIn(Registers& registers, uint64_t offset, std::span<const uint8_t> source) {
  size_t done = 0;
  while (done < source.size()) {
    done += copyInMapped(registers, offset + done, source.subspan(done));
    if (done == source.size()) break;
    const auto written = registers.copyIntoFile(offset + done, source.subspan(done));
    if (!written) return written;
    done += *written;
  }
  registers.bulkBytes += done;
  return {};
}

}  // namespace nodevfio

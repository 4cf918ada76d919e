// The part of <drm/drm.h>, <drm/drm_mode.h> and <linux/udmabuf.h> that is called here, as of Linux 7.2. Written here
// because most machines do not have the headers installed.
#pragma once

#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace nodevfio::drm {

// Lengths in, then out; the texts are not terminated.
struct Version {
  int32_t major;
  int32_t minor;
  int32_t patch;
  size_t nameLength;
  char* name;
  size_t dateLength;
  char* date;
  size_t descriptionLength;
  char* description;
};
static_assert(sizeof(Version) == 64);

struct GemClose {
  uint32_t handle;
  uint32_t pad;
};

struct GetCap {
  uint64_t capability;
  uint64_t value;
};

struct PrimeHandle {
  uint32_t handle;
  uint32_t flags;
  int32_t fd;
};

struct ModeInfo {
  uint32_t clock;
  uint16_t width, hsyncStart, hsyncEnd, htotal, hskew;
  uint16_t height, vsyncStart, vsyncEnd, vtotal, vscan;
  uint32_t refresh;
  uint32_t flags;
  uint32_t type;
  char name[32];
};
static_assert(sizeof(ModeInfo) == 68);

struct CardResources {
  uint64_t framebuffers, crtcs, connectors, encoders;
  uint32_t framebufferCount, crtcCount, connectorCount, encoderCount;
  uint32_t minWidth, maxWidth, minHeight, maxHeight;
};
static_assert(sizeof(CardResources) == 64);

struct Crtc {
  uint64_t connectors;
  uint32_t connectorCount;
  uint32_t id;
  uint32_t framebuffer;
  uint32_t x, y;
  uint32_t gammaSize;
  uint32_t modeValid;
  ModeInfo mode;
};
static_assert(sizeof(Crtc) == 104);

struct GetEncoder {
  uint32_t id;
  uint32_t type;
  uint32_t crtc;
  uint32_t possibleCrtcs;
  uint32_t possibleClones;
};

struct GetConnector {
  uint64_t encoders, modes, properties, values;
  uint32_t modeCount, propertyCount, encoderCount;
  uint32_t encoder;
  uint32_t id;
  uint32_t type, typeId;
  uint32_t connection;
  uint32_t millimetersWide, millimetersHigh;
  uint32_t subpixel;
  uint32_t pad;
};
static_assert(sizeof(GetConnector) == 80);

struct Clip {
  uint16_t left, top, right, bottom;
};

struct DirtyFramebuffer {
  uint32_t framebuffer;
  uint32_t flags;
  uint32_t colour;
  uint32_t clipCount;
  uint64_t clips;
};
static_assert(sizeof(DirtyFramebuffer) == 24);

struct CreateDumb {
  uint32_t height;
  uint32_t width;
  uint32_t bitsPerPixel;
  uint32_t flags;
  uint32_t handle;
  uint32_t pitch;
  uint64_t size;
};
static_assert(sizeof(CreateDumb) == 32);

struct MapDumb {
  uint32_t handle;
  uint32_t pad;
  uint64_t offset;
};

struct DestroyDumb {
  uint32_t handle;
};

struct PlaneResources {
  uint64_t planes;
  uint32_t count;
};
static_assert(sizeof(PlaneResources) == 16);

struct GetPlane {
  uint32_t id;
  uint32_t crtc;
  uint32_t framebuffer;
  uint32_t possibleCrtcs;
  uint32_t gammaSize;
  uint32_t formatCount;
  uint64_t formats;
};
static_assert(sizeof(GetPlane) == 32);

struct SetPlane {
  uint32_t id;
  uint32_t crtc;
  uint32_t framebuffer;
  uint32_t flags;
  int32_t x, y;
  uint32_t width, height;
  // In 16.16 fixed point.
  uint32_t sourceX, sourceY, sourceHeight, sourceWidth;
};
static_assert(sizeof(SetPlane) == 48);

struct AddFramebuffer {
  uint32_t id;
  uint32_t width, height;
  uint32_t format;
  uint32_t flags;
  uint32_t handles[4];
  uint32_t pitches[4];
  uint32_t offsets[4];
  uint64_t modifiers[4];
};
static_assert(sizeof(AddFramebuffer) == 104);

inline constexpr unsigned kType = 'd';

inline constexpr unsigned long kVersion = _IOWR(kType, 0x00, Version);
inline constexpr unsigned long kGemClose = _IOW(kType, 0x09, GemClose);
inline constexpr unsigned long kGetCap = _IOWR(kType, 0x0c, GetCap);
inline constexpr unsigned long kSetMaster = _IO(kType, 0x1e);
inline constexpr unsigned long kDropMaster = _IO(kType, 0x1f);
inline constexpr unsigned long kPrimeHandleToFd = _IOWR(kType, 0x2d, PrimeHandle);
inline constexpr unsigned long kPrimeFdToHandle = _IOWR(kType, 0x2e, PrimeHandle);
inline constexpr unsigned long kGetResources = _IOWR(kType, 0xa0, CardResources);
inline constexpr unsigned long kSetCrtc = _IOWR(kType, 0xa2, Crtc);
inline constexpr unsigned long kGetEncoder = _IOWR(kType, 0xa6, GetEncoder);
inline constexpr unsigned long kGetConnector = _IOWR(kType, 0xa7, GetConnector);
inline constexpr unsigned long kRemoveFramebuffer = _IOWR(kType, 0xaf, uint32_t);
inline constexpr unsigned long kDirtyFramebuffer = _IOWR(kType, 0xb1, DirtyFramebuffer);
inline constexpr unsigned long kCreateDumb = _IOWR(kType, 0xb2, CreateDumb);
inline constexpr unsigned long kMapDumb = _IOWR(kType, 0xb3, MapDumb);
inline constexpr unsigned long kDestroyDumb = _IOWR(kType, 0xb4, DestroyDumb);
inline constexpr unsigned long kGetPlaneResources = _IOWR(kType, 0xb5, PlaneResources);
inline constexpr unsigned long kGetPlane = _IOWR(kType, 0xb6, GetPlane);
inline constexpr unsigned long kSetPlane = _IOWR(kType, 0xb7, SetPlane);
inline constexpr unsigned long kAddFramebuffer = _IOWR(kType, 0xb8, AddFramebuffer);

struct UdmabufItem {
  uint32_t memory;
  uint32_t pad;
  uint64_t offset;
  uint64_t size;
};
static_assert(sizeof(UdmabufItem) == 24);

// Items follow.
struct UdmabufList {
  uint32_t flags;
  uint32_t count;
};

inline constexpr uint32_t kUdmabufCloexec = 1;
inline constexpr unsigned long kUdmabufCreateList = _IOW('u', 0x43, UdmabufList);

}  // namespace nodevfio::drm

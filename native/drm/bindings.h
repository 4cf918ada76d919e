// What this folder gives to JavaScript: DRM cards, memory and framebuffers on them, and what they show.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerDrm(Napi::Env env, Napi::Object exports);

// Its parts.
void registerUdmabuf(Napi::Env env, Napi::Object exports);
void registerDrmScreens(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio

// What this folder gives to JavaScript: /dev/iommu and the objects in it.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerIommufd(Napi::Env env, Napi::Object exports);

// Its parts.
void registerIommufdObjects(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio

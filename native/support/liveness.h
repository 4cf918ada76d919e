// Whether JavaScript may still run: what a blocking call asks between its slices, so that Worker.terminate() and
// process.exit() are not held up by it.
#pragma once

#include <node_api.h>

namespace nodevfio {

bool javascriptMayRun(napi_env env);

}  // namespace nodevfio

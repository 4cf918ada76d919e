// Whether JavaScript may still run: what a blocking call asks between its slices, so that Worker.terminate() and
// process.exit() are not held up by it.
#pragma once

#include <node_api.h>

namespace nodevfio {

// May itself run JavaScript: what waits for V8 to be at ease, such as an inspector's request. Whoever asks holds what
// it goes on with, and looks afterwards whether that was closed meanwhile.
bool javascriptMayRun(napi_env env);

}  // namespace nodevfio

// Until the listener and the connections are here.
#include "socket/bindings.h"

namespace nodevfio {

void registerSocket(Napi::Env env, Napi::Object exports) { registerSocketClient(env, exports); }

}  // namespace nodevfio

// The probe: a Node-API call that has no effect and that Node refuses once execution is being terminated.
#include "support/liveness.h"

namespace nodevfio {

bool javascriptMayRun(napi_env env) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return false;
  napi_value script = nullptr;
  napi_value result = nullptr;
  // Running a script, however small, is what notices a pending termination; reading a property does not.
  const bool alive =
      napi_create_string_utf8(env, "0", 1, &script) == napi_ok && napi_run_script(env, script, &result) == napi_ok;
  napi_close_handle_scope(env, scope);
  return alive;
}

}  // namespace nodevfio

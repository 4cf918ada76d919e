// Signals an eventfd that somebody else holds too: who does can make it blocking and fill it, and a write would wait
// for ever. Knows no object.
#pragma once

#include "support/result.h"

namespace nodevfio {

// Adds 1 without waiting, whatever else is done to it meanwhile. EAGAIN: it is full.
Result<> signalSurely(int fd);

}  // namespace nodevfio

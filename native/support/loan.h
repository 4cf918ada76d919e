// Memory lent to JavaScript through a handle, which the handle can ask for again. What kind of memory that is, its
// folder knows.
#pragma once

#include <node_api.h>

#include <memory>
#include <vector>

namespace nodevfio {

class Loan {
 public:
  Loan() = default;
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  virtual ~Loan() = default;

  // Takes the memory from JavaScript; whoever still has its address finds nothing of ours there.
  virtual void park(napi_env env) = 0;
};

// Those of one handle, parked together.
using Loans = std::vector<std::weak_ptr<Loan>>;

}  // namespace nodevfio

// Results: a value or a refusal, and how one becomes another.
#include "support/result.h"

#include <doctest/doctest.h>
#include <sys/types.h>

#include <cerrno>
#include <memory>
#include <string_view>

namespace nodevfio {

namespace {

struct Base {
  virtual ~Base() = default;
};
struct Derived : Base {};

constexpr Result<int> positive(int number) {
  if (number <= 0) return Refusal{ERANGE, "positive"};
  return number;
}
static_assert(*positive(3) == 3);
static_assert(!positive(0));
static_assert(positive(3).error() == 0);

Result<std::shared_ptr<Base>> made() { return std::make_shared<Derived>(); }
Result<> onlyWhether(int number) { return positive(number); }

}  // namespace

TEST_CASE("Result: a value, or the errno and the call it is of") {
  const auto refused = positive(-1);
  CHECK_FALSE(refused);
  CHECK(refused.error() == ERANGE);
  CHECK(std::string_view(refused.refusal().syscall) == "positive");
  CHECK(*positive(7) == 7);
  CHECK(*made() != nullptr);
}

TEST_CASE("Result: one without a value keeps the refusal of one with a value") {
  CHECK(onlyWhether(1));
  CHECK(onlyWhether(0).error() == ERANGE);
  CHECK(std::string_view(onlyWhether(0).refusal().syscall) == "positive");
}

TEST_CASE("Result: libc's answers, and errnos that come as such") {
  errno = EBUSY;
  CHECK(answerOf(-1, "ioctl").error() == EBUSY);
  CHECK(answerOf(ssize_t{-1}).refusal().syscall == nullptr);
  CHECK(*answerOf(0) == 0);
  CHECK(*answerOf(ssize_t{4096}) == 4096);
  CHECK(fromErrno(0));
  CHECK(fromErrno(ENOENT).error() == ENOENT);
}

}  // namespace nodevfio

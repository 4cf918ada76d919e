// How a call tells that it was refused, the same everywhere in native/: it gives what it was asked for, or a Refusal
// with the errno. Knows nothing of Node-API, where a refusal becomes an exception (support/failure.h).
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <concepts>
#include <type_traits>
#include <utility>

namespace nodevfio {

// Why there is no result: an errno, which is never 0, and the call that it is of where the caller cannot know which of
// several it was.
struct Refusal {
  int error;
  const char* syscall = nullptr;
};

// The value of a call, or the refusal of it. Of nothing without a type: whether it went well.
template <class T = void>
class [[nodiscard]] Result {
 public:
  // `return value;` where the value converts to what is promised, as a pointer to a derived class does.
  template <class U = T>
    requires std::convertible_to<U, T> && (!std::same_as<std::remove_cvref_t<U>, Result>) &&
             (!std::same_as<std::remove_cvref_t<U>, Refusal>)
  constexpr Result(U&& value) : value_(std::forward<U>(value)) {}
  constexpr Result(Refusal refusal) : refusal_(refusal) {}

  constexpr explicit operator bool() const { return refusal_.error == 0; }
  // 0 when it went well.
  constexpr int error() const { return refusal_.error; }
  constexpr Refusal refusal() const { return refusal_; }

  // Only when it went well.
  constexpr T& operator*() & { return value_; }
  constexpr const T& operator*() const& { return value_; }
  constexpr T&& operator*() && { return std::move(value_); }
  constexpr T* operator->() { return &value_; }
  constexpr const T* operator->() const { return &value_; }

 private:
  T value_{};
  Refusal refusal_{0};
};

template <>
class [[nodiscard]] Result<void> {
 public:
  constexpr Result() = default;
  constexpr Result(Refusal refusal) : refusal_(refusal) {}
  // What there was beside the success, nobody asks for.
  template <class T>
    requires(!std::is_void_v<T>)
  constexpr Result(const Result<T>& other) : refusal_(other.refusal()) {}

  constexpr explicit operator bool() const { return refusal_.error == 0; }
  constexpr int error() const { return refusal_.error; }
  constexpr Refusal refusal() const { return refusal_; }

 private:
  Refusal refusal_{0};
};

// The refusal that errno tells of now.
inline Refusal refusedNow(const char* syscall = nullptr) { return {errno, syscall}; }

// The answer of a function of libc's, which is negative when errno has the reason.
template <std::signed_integral Answer>
Result<Answer> answerOf(Answer answer, const char* syscall = nullptr) {
  if (answer < 0) return refusedNow(syscall);
  return answer;
}

// How many bytes a read or a write of libc's was of.
inline Result<size_t> countOf(ssize_t count) {
  if (count < 0) return refusedNow();
  return static_cast<size_t>(count);
}

// From a function that gives the errno itself, or 0.
constexpr Result<> fromErrno(int error) { return error == 0 ? Result<>() : Refusal{error}; }

}  // namespace nodevfio

// A collective under way. It keeps its buffers alive until it is waited for.
#pragma once
#include <exception>
#include <functional>
#include <utility>

namespace elastron::parallel {

class [[nodiscard]] Pending {
 public:
  Pending() = default;  // already done
  explicit Pending(std::function<void()> finish)
      : finish_(std::move(finish)), exceptions_(std::uncaught_exceptions()) {}
  Pending(Pending&& other) noexcept
      : finish_(std::exchange(other.finish_, nullptr)), exceptions_(other.exceptions_) {}
  Pending& operator=(Pending&&) = delete;
  ~Pending();  // dropped without wait(), and not by an exception: terminates. Never communicates.

  // Work issued after wait() sees the result. Rethrows the collective's error.
  void wait() {
    if (auto finish = std::exchange(finish_, nullptr)) finish();
  }
  bool done() const { return finish_ == nullptr; }

 private:
  std::function<void()> finish_;
  int exceptions_ = 0;  // in flight when it was made
};

}  // namespace elastron::parallel

// A collective under way. On the CPU without overlap it is born done.
#pragma once
#include <functional>
#include <utility>

namespace elastron::parallel {

class [[nodiscard]] Pending {
 public:
  Pending() = default;  // already done
  explicit Pending(std::function<void()> finish) : finish_(std::move(finish)) {}
  Pending(Pending&& other) noexcept : finish_(std::exchange(other.finish_, nullptr)) {}
  Pending& operator=(Pending&&) = delete;
  ~Pending();  // dropped without wait(), and not by an exception: terminates. Never communicates.

  // Work issued after wait() sees the result. Rethrows the collective's error.
  void wait() {
    if (auto finish = std::exchange(finish_, nullptr)) finish();
  }
  bool done() const { return finish_ == nullptr; }

 private:
  std::function<void()> finish_;
};

}  // namespace elastron::parallel

// Long reads and writes go in slices, and say after each that they go on: what is slow is no
// standstill for whoever watches (parallel/watchdog.h), and what hangs is one.
#pragma once
#include <cstdint>
#include <functional>

namespace elastron {

// Most bytes that are read or written without a word.
inline constexpr uint64_t kSlice = uint64_t(16) << 20;

// Called after each slice, unless it is empty.
using OnSlice = std::function<void()>;

}  // namespace elastron

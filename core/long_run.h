// Hooks by which the program watches an evaluation that takes long.
#pragma once
#include <functional>

namespace elastron {

struct LongRun {
  std::function<void()> beat;            // called between forward passes: the watchdog listens
  std::function<bool()> stop_requested;  // of this rank; asked after each part that is kept
};

}  // namespace elastron

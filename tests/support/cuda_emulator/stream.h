// What a stream, an event and a graph of the emulated device are.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "tests/support/cuda_emulator/memory.h"
#include "tests/support/cuda_emulator/stream_order.h"

namespace elastron::emulator {

// One piece of work; without `touched` it is found out what it touches.
struct Work {
  Name name;
  std::optional<std::vector<Bytes>> touched;
  std::function<void()> run;
};

struct Capture {
  std::vector<Work> works;
  bool valid = true;  // until an illegal call
};

// memory.cpp: does it now.
void perform(CUstream_st* stream, const Work& work);
// Of what the host has waited for.
Clock& host_clock();

}  // namespace elastron::emulator

// Work is done when it is issued. A stream may stall, as one whose kernel never ends: what is
// recorded on it from then on never comes to pass.
struct CUstream_st {
  const int number = 0;
  std::atomic<bool> stalled{false};
  elastron::emulator::Clock clock;
  std::unique_ptr<elastron::emulator::Capture> capture;
};
struct CUevent_st {
  std::atomic<bool> stalled{false};
  bool captured = false;
  elastron::emulator::Clock clock;
};
struct CUgraph_st {
  std::vector<elastron::emulator::Work> works;
};
struct CUgraphExec_st {
  std::vector<elastron::emulator::Work> works;
};

// For stand-ins of libraries and tests: work for a stream of the emulated device, what the device
// was asked for, and streams that stop.
//
// All work goes through issue(): a kernel, a copy, a call of a library. It may touch the device's
// memory only there, and what it touches is held against what other streams did (stream_order.h).
// A use that no event orders after a write of another stream, a write that none orders after reads,
// memory given back before all uses of it are over, and pinned memory that the host touches while a
// copy is under way end the test with both sides' names.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

struct CUstream_st;

namespace elastron::emulator {

// Bytes in a row, or in several rows that begin a stride apart.
struct Bytes {
  const void* begin;
  size_t count;
  bool written = false;
  size_t rows = 1, stride = 0;

  const char* last() const {
    return static_cast<const char*>(begin) + (rows - 1) * stride + count - 1;
  }
};

// What the device pretends to have.
constexpr size_t kDeviceMemory = size_t(4) << 30;

// Does `work` on the stream, or has the stream's capture remember it. What it touches is found out
// by pages: reads and writes of whole pages of a block. `name` is a literal. Copies of `work` must
// be good for later.
void issue(CUstream_st* stream, const char* name, std::function<void()> work);
// The same of work that touches these bytes and no others; those of the host do not matter.
void issue(CUstream_st* stream, const char* name, std::vector<Bytes> touched,
           std::function<void()> work);

// What the host asked of the device so far: kernels and library calls, transfers (with clearing),
// waits for a transfer to the host or for a stream, blocks of memory, and graphs. What a graph does
// is not asked for by the host again.
struct Calls {
  int64_t launches = 0, copies = 0, host_waits = 0, allocations = 0, graphs = 0;
  int64_t plans = 0;  // of attention, that a library would have compiled
};
Calls& calls();

// Whether the library for full attention has a backward pass: true unless a test says otherwise.
bool& library_has_gradients();

// From now on nothing that is issued on the stream ends.
void stall(CUstream_st* stream);
bool is_stalled(CUstream_st* stream);
// What the stalled streams wait for was ended from outside.
void resume_streams();

}  // namespace elastron::emulator

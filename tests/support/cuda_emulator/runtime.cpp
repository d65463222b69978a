#include <cuda_runtime_api.h>
#include <setjmp.h>  // NOLINT(modernize-deprecated-headers): csetjmp has no _setjmp
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <numeric>
#include <vector>

#include "tests/support/cuda_emulator/faults.h"
#include "tests/support/cuda_emulator/memory.h"
#include "tests/support/cuda_emulator/scheduler.h"

namespace elastron::emulator {

void die(const char* what) {
  std::fprintf(stderr, "cuda emulator: %s\n", what);
  std::abort();
}

// --- Kernels
// ---------------------------------------------------------------------------------------

Thread current;
dim3 block_dim, grid_dim;
unsigned char* dynamic_shared = nullptr;
size_t dynamic_shared_bytes = 0;

namespace {

constexpr size_t kStack = size_t(256) << 10;
constexpr size_t kMostShared = size_t(227) << 10;

struct Copy {
  void* dst;
  const void* src;
  size_t bytes;
};

struct Fiber {
  ucontext_t first;  // to enter it; afterwards it is left and entered by longjmp, which is cheap
  jmp_buf here;
  bool entered = false, done = true;
  enum { running, at_block_barrier, at_exchange, waiting } state = running;
  std::function<bool()> ready;  // what it waits for
  unsigned mask = 0;
  unsigned exchanges = 0;  // how many it has begun
  Thread thread;
  std::unique_ptr<char[]> stack;
  std::vector<Copy> copies;  // not committed
  std::deque<std::vector<Copy>> groups;
};

struct WarpBoard {
  // Two in turns: a lane may begin the next exchange while others still read the last one.
  alignas(64) unsigned char values[2][32][kMostPosted];
  unsigned posted[2] = {0, 0};
};

std::vector<Fiber> fibers;
std::vector<WarpBoard> warps;
jmp_buf scheduler;
Fiber* running = nullptr;
const std::function<void()>* body = nullptr;
std::vector<unsigned char> shared_memory(kMostShared + 1024);

// What other units of the processor do for the block, some time after they are told to.
std::vector<std::function<void()>> events;
uint32_t chance = 1;  // the same on every run
bool one_in(uint32_t n) {
  chance = chance * 1664525u + 1013904223u;
  return (chance >> 16) % n == 0;
}
void let_happen(size_t i) {
  const std::function<void()> event = std::move(events[i]);
  events.erase(events.begin() + std::ptrdiff_t(i));
  event();
}

void finish(Fiber& f, size_t groups_left) {
  while (f.groups.size() > groups_left) {
    for (const Copy& c : f.groups.front()) std::memcpy(c.dst, c.src, c.bytes);
    f.groups.pop_front();
  }
}

void enter() {
  Fiber& me = *running;
  (*body)();
  me.done = true;
  _longjmp(scheduler, 1);
}

void leave() {
  Fiber& me = *running;
  me.thread = current;
  if (_setjmp(me.here) == 0) _longjmp(scheduler, 1);
}

void resume(Fiber& f) {
  running = &f;
  current = f.thread;
  if (_setjmp(scheduler) != 0) return;
  if (f.entered) _longjmp(f.here, 1);
  f.entered = true;
  setcontext(&f.first);
}

bool runnable(const Fiber& f) {
  if (f.done || f.state == Fiber::at_block_barrier) return false;
  if (f.state == Fiber::running) return true;
  if (f.state == Fiber::waiting) return f.ready();
  // All lanes of the mask that still run have posted.
  return (warps[f.thread.warp].posted[(f.exchanges - 1) % 2] & f.mask) == f.mask;
}

void run_block(dim3 index, unsigned threads) {
  for (unsigned t = 0; t < threads; ++t) {
    Fiber& f = fibers[t];
    if (!f.stack) f.stack.reset(new char[kStack]);
    f.entered = f.done = false;
    f.state = Fiber::running;
    f.exchanges = 0;
    f.copies.clear();
    f.groups.clear();
    f.thread.block = index;
    f.thread.index =
        dim3(t % block_dim.x, t / block_dim.x % block_dim.y, t / (block_dim.x * block_dim.y));
    f.thread.lane = t % 32;
    f.thread.warp = t / 32;
    getcontext(&f.first);
    f.first.uc_stack.ss_sp = f.stack.get();
    f.first.uc_stack.ss_size = kStack;
    f.first.uc_link = nullptr;
    makecontext(&f.first, enter, 0);
  }
  for (WarpBoard& w : warps) w.posted[0] = w.posted[1] = 0;
  std::memset(dynamic_shared, 0xff, dynamic_shared_bytes);
  hopper_block_begins((threads + 31) / 32);

  unsigned left = threads, passes = 0;
  const unsigned all_warps = (threads + 31) / 32;
  // Another order of warps each round, the same on every run. A warp goes on alone as far as it
  // can: were all to go in step, what they need of each other would be there without a barrier.
  for (unsigned round = 0; left > 0; ++round) {
    bool moved = false;
    for (unsigned i = 0; i < all_warps; ++i) {
      const unsigned turned = (i + round / 2) % all_warps;
      const unsigned first = 32 * (round % 2 == 0 ? turned : all_warps - 1 - turned);
      const unsigned lanes = std::min(32u, threads - first);
      for (bool more = true; more; ++passes) {
        more = false;
        // Lanes forwards, backwards, by strides.
        for (unsigned n = 0; n < lanes; ++n) {
          unsigned lane = passes % 2 == 0 ? n : lanes - 1 - n;
          if (passes % 3 == 2 && lanes == 32) lane = lane * 7 % 32;
          Fiber& f = fibers[first + lane];
          if (!runnable(f)) continue;
          f.state = Fiber::running;
          resume(f);
          more = moved = true;
          if (f.done) --left;
        }
      }
    }
    if (left == 0) break;
    for (size_t i = events.size(); i-- > 0;) {
      if (one_in(4)) {
        let_happen(i);
        moved = true;
      }
    }
    // Whoever still runs must stand at the block's barrier to pass it.
    const bool all = std::all_of(fibers.begin(), fibers.begin() + threads, [](const Fiber& f) {
      return f.done || f.state == Fiber::at_block_barrier;
    });
    if (all) {
      for (unsigned t = 0; t < threads; ++t) {
        if (!fibers[t].done) fibers[t].state = Fiber::running;
      }
    } else if (!moved) {
      if (events.empty()) {
        die(("threads of a block wait for each other at different barriers" + barriers_waited_for())
                .c_str());
      }
      let_happen(events.size() / 2);
    }
  }
  if (!events.empty()) die("a block ends with copies under way");
  hopper_block_ends();
}

}  // namespace

void wait_until(std::function<bool()> ready) {
  running->ready = std::move(ready);
  running->state = Fiber::waiting;
  leave();
}

void later(std::function<void()> event) {
  if (one_in(4)) return event();
  events.push_back(std::move(event));
}

void block_barrier() {
  running->state = Fiber::at_block_barrier;
  leave();
}

const unsigned char (*post(unsigned mask, const void* mine, size_t size))[kMostPosted] {
  Fiber& me = *running;
  const unsigned turn = me.exchanges++ % 2, lane = current.lane;
  WarpBoard& board = warps[current.warp];
  if ((mask >> lane & 1) == 0) die("a lane takes part in an exchange that its mask leaves out");
  // The first to post in this turn finds the marks of the turn before the last.
  if (board.posted[turn] >> lane & 1) {
    if ((board.posted[turn] & mask) != mask) die("a lane is ahead of its warp");
    board.posted[turn] &= ~mask;
  }
  board.posted[turn] |= 1u << lane;
  std::memcpy(board.values[turn][lane], mine, size);
  me.mask = mask;
  me.state = Fiber::at_exchange;
  leave();
  return board.values[turn];
}

void exchange(unsigned mask, const void* mine, void* all, size_t size) {
  const auto* posted = post(mask, mine, size);
  for (unsigned i = 0; i < 32; ++i) {
    if (mask >> i & 1) std::memcpy(static_cast<char*>(all) + i * size, posted[i], size);
  }
}

void run_kernel(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread) {
  const unsigned threads = block.x * block.y * block.z;
  if (threads == 0 || threads > 1024) die("a block has 1 to 1024 threads");
  if (grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffffu) die("the grid is too large");
  if (shared_bytes > kMostShared) die("a block has at most 227 KiB of shared memory");
  faults_kernel_begins();
  // Of several blocks the last one is lost.
  const unsigned columns = grid.x > 1 && planted(Faulty::plain, Fault::tile) ? grid.x - 1 : grid.x;
  grid_dim = grid;
  block_dim = block;
  body = &thread;
  dynamic_shared_bytes = shared_bytes;
  dynamic_shared = reinterpret_cast<unsigned char*>(
      (reinterpret_cast<uintptr_t>(shared_memory.data()) + 1023) / 1024 * 1024);
  if (fibers.size() < threads) fibers.resize(threads);
  warps.resize((threads + 31) / 32);
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < columns; ++x) run_block(dim3(x, y, z), threads);
    }
  }
}

void defer_copy(void* dst, const void* src, size_t bytes) {
  running->copies.push_back({dst, src, bytes});
}
void commit_copies() { running->groups.push_back(std::exchange(running->copies, {})); }
void finish_copies(int groups_left) { finish(*running, size_t(groups_left)); }

}  // namespace elastron::emulator

// --- Runtime calls
// -----------------------------------------------------------------------------------

const char* cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorStreamCaptureUnsupported: return "not permitted while a stream is captured";
    case cudaErrorStreamCaptureInvalidated: return "a call spoilt the capture";
    case cudaErrorCapturedEvent: return "a captured event";
    default: return "error of the CUDA emulator";
  }
}
const char* cudaGetErrorName(cudaError_t) { return "emulated"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
// The machine has $ELASTRON_EMULATED_GPUS of them (1), of which CUDA_VISIBLE_DEVICES names those that
// this process sees, by number.
static std::vector<int> visible_gpus() {
  const char* count = std::getenv("ELASTRON_EMULATED_GPUS");
  const int all = count == nullptr ? 1 : std::atoi(count);
  std::vector<int> visible;
  const char* list = std::getenv("CUDA_VISIBLE_DEVICES");
  if (list == nullptr) {
    for (int i = 0; i < all; ++i) visible.push_back(i);
    return visible;
  }
  for (char* end = nullptr; *list != 0; list = *end == ',' ? end + 1 : end) {
    const long i = std::strtol(list, &end, 10);
    if (end == list || i < 0 || i >= all) break;  // as CUDA: none behind one that is not there
    visible.push_back(int(i));
  }
  return visible;
}
static int current_gpu = 0;
cudaError_t cudaGetDeviceCount(int* n) {
  *n = int(visible_gpus().size());
  return *n > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int d) {
  current_gpu = d;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* d) {
  *d = current_gpu;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int d) {
  std::snprintf(text, size_t(length), "0000:%02X:00.0",
                unsigned(0x4a + visible_gpus().at(size_t(d))));
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int d) {
  *p = {};
  std::strcpy(p->name, "emulated GPU");
  p->major = 9;
  // Ranks that share a machine share the GPU too, unless they are to have one each.
  const char* own = std::getenv("ELASTRON_EMULATED_GPU_PER_RANK");
  const auto id = own == nullptr ? visible_gpus().at(size_t(d)) : int(getpid());
  std::memcpy(p->uuid.bytes, &id, sizeof id);
  p->multiProcessorCount = 4;
  p->totalGlobalMem = elastron::emulator::kDeviceMemory;
  p->sharedMemPerBlockOptin = elastron::emulator::kMostShared;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  cudaDeviceProp p;
  cudaGetDeviceProperties(&p, 0);
  switch (attribute) {
    case cudaDevAttrClockRate:
      *value = 1000;  // 1 MHz
      break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
  }
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* v) {
  *v = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* v) { return cudaDriverGetVersion(v); }
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* a, const void*) {
  *a = {};
  // As in a build for another architecture, whose kernels for this one are marked by what they take.
  if (std::getenv("ELASTRON_EMULATED_BUILD_FOR_80") != nullptr) a->sharedSizeBytes = 1 << 20;
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  const bool known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&elastron::emulator::encode_tensor_map) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

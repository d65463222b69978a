// Instructions of sm_90a. Products are worked out when they are waited for, from what then stands
// in shared memory, which must be what stood there when they were issued; their sums are NaN until
// then. Copies arrive at once or much later. Addresses are decoded from descriptors and tensor maps
// as the hardware does it.
#include <cuda_runtime.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "tests/support/cuda_emulator/faults.h"
#include "tests/support/cuda_emulator/scheduler.h"

namespace elastron::emulator {

namespace {

constexpr unsigned kAll = 0xffffffffu, kLanes = 32;
constexpr float kPending = std::numeric_limits<float>::quiet_NaN();

unsigned char* in_shared(size_t address, size_t bytes) {
  if (address + bytes > dynamic_shared_bytes) die("an address is not in the block's shared memory");
  return dynamic_shared + address;
}

// 128-byte swizzle: bits 4 to 6 of an address are mixed with bits 7 to 9.
size_t swizzled(size_t address) { return address ^ (address >> 7 & 7) << 4; }

// --- Barriers ----------------------------------------------------------------------------------

struct BarrierState {
  uint16_t expected, missing;
  int32_t bytes : 31;
  uint32_t phase : 1;
};
static_assert(sizeof(BarrierState) == sizeof(uint64_t));

BarrierState load(const uint64_t* barrier) {
  const auto state = std::bit_cast<BarrierState>(*barrier);
  if (state.expected == 0 || state.expected == 0xffff) die("a barrier is not initialised");
  return state;
}
void store(uint64_t* barrier, BarrierState state) {
  if (state.missing == 0 && state.bytes == 0) {
    state.missing = state.expected;
    state.phase ^= 1;
  }
  *barrier = std::bit_cast<uint64_t>(state);
}

struct NamedBarrier {
  int threads = 0, count = 0;
  unsigned generation = 0;
};
NamedBarrier named[16];

std::multiset<std::string> waits;  // of the block's threads, by name

// --- Products ----------------------------------------------------------------------------------

struct Posted {
  Product product;
  uint32_t a[4];
};
static_assert(sizeof(Posted) <= kMostPosted);

struct Operation {
  Product product;  // lane 0's
  float* sums[kLanes];
  const uint32_t* a_registers[kLanes];
  uint32_t a[kLanes][4];
  uint64_t sum_of_operands;  // of what was in shared memory
};
struct WarpProducts {
  unsigned calls = 0, lane_calls[kLanes] = {};
  std::deque<Operation> open;
  std::deque<std::deque<Operation>> groups;
  // By lane 0's sums: the tile [16, columns] as it will be.
  std::map<float*, std::vector<float>> pending;
  uint64_t history = 0;  // of all that was issued: the same for the four warps of a group
};
std::vector<WarpProducts> products;

// Of the lanes of a warp that call together, whether this is the first to come here.
bool first_lane(WarpProducts& w) {
  if (w.lane_calls[current.lane]++ < w.calls) return false;
  ++w.calls;
  return true;
}

float number(size_t address) {
  uint16_t bits;
  std::memcpy(&bits, in_shared(address, 2), 2);
  return std::bit_cast<float>(uint32_t(bits) << 16);
}

// Where element (major, k) of an operand stands: `major` is its row of a or column of b.
class Operand {
 public:
  Operand(uint64_t descriptor, bool turned)
      : start_(size_t(descriptor & 0x3fff) << 4),
        leading_(size_t(descriptor >> 16 & 0x3fff) << 4),
        stride_(size_t(descriptor >> 32 & 0x3fff) << 4),
        turned_(turned) {
    if (descriptor >> 62 != 1) die("an operand is not swizzled by 128 bytes");
    if ((descriptor >> 49 & 7) != 0) die("an operand with a base offset");
    if ((start_ & 0x390) != 0) die("an operand does not begin at a tile's first row");
  }
  size_t at(size_t major, size_t k) const {
    const size_t linear =
        turned_ ? start_ + major / 64 * leading_ + k / 8 * stride_ + k % 8 * 128 + major % 64 * 2
                : start_ + major / 8 * stride_ + major % 8 * 128 + k * 2;
    return swizzled(linear);
  }

 private:
  size_t start_, leading_, stride_;
  bool turned_;
};

// Rows of a that this warp has, [16][16]; b [16][columns].
std::vector<float> a_of(const Operation& op, unsigned warp) {
  std::vector<float> a(16 * 16);
  if (op.product.a_registers == nullptr) {
    const Operand operand(op.product.a, op.product.a_turned);
    for (size_t r = 0; r < 16; ++r) {
      for (size_t k = 0; k < 16; ++k) a[r * 16 + k] = number(operand.at(warp % 4 * 16 + r, k));
    }
    return a;
  }
  for (size_t lane = 0; lane < kLanes; ++lane) {
    for (size_t i = 0; i < 4; ++i) {
      const size_t row = lane / 4 + i % 2 * 8, k = lane % 4 * 2 + i / 2 * 8;
      a[row * 16 + k] = std::bit_cast<float>(op.a[lane][i] << 16);
      a[row * 16 + k + 1] = std::bit_cast<float>(op.a[lane][i] & 0xffff0000u);
    }
  }
  return a;
}
std::vector<float> b_of(const Operation& op) {
  const auto columns = size_t(op.product.columns);
  std::vector<float> b(16 * columns);
  const Operand operand(op.product.b, op.product.b_turned);
  for (size_t n = 0; n < columns; ++n) {
    for (size_t k = 0; k < 16; ++k) b[k * columns + n] = number(operand.at(n, k));
  }
  return b;
}

uint64_t mixed(uint64_t sum, uint64_t x) { return (sum ^ x) * 0x9e3779b97f4a7c15u + (sum >> 29); }
uint64_t sum_of(const Operation& op, unsigned warp) {
  uint64_t sum = 1;
  const auto add = [&](const std::vector<float>& values) {
    for (const float x : values) sum = mixed(sum, std::bit_cast<uint32_t>(x));
  };
  if (op.product.a_registers == nullptr) add(a_of(op, warp));
  add(b_of(op));
  return sum;
}

// Row and column of the sums' element i of a lane.
size_t place_of(size_t lane, size_t i, size_t columns) {
  return (lane / 4 + i / 2 % 2 * 8) * columns + i / 4 * 8 + lane % 4 * 2 + i % 2;
}

void issue(WarpProducts& w, const Operation& op) {
  const auto columns = size_t(op.product.columns);
  auto [at, first] = w.pending.try_emplace(op.sums[0]);
  if (first) at->second.resize(16 * columns);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    for (size_t i = 0; i < columns / 2; ++i) {
      float& d = op.sums[lane][i];
      if (first) at->second[place_of(lane, i, columns)] = d;
      d = kPending;
    }
  }
  w.open.push_back(op);
}

void work_out(WarpProducts& w, const Operation& op, unsigned warp) {
  const auto columns = size_t(op.product.columns);
  if (sum_of(op, warp) != op.sum_of_operands) {
    die("an operand of a product changed before the product was waited for");
  }
  for (size_t lane = 0; op.product.a_registers != nullptr && lane < kLanes; ++lane) {
    if (std::memcmp(op.a_registers[lane], op.a[lane], sizeof op.a[lane]) != 0) {
      die("a register of a product's operand changed before the product was waited for");
    }
  }
  std::vector<float>& d = w.pending.at(op.sums[0]);
  if (!op.product.add) std::fill(d.begin(), d.end(), 0.0f);
  const std::vector<float> a = a_of(op, warp);
  std::vector<float> b = b_of(op);
  if (goes_wrong(Faulty::hopper, Fault::tile)) std::fill(b.begin(), b.end(), 0.0f);
  for (size_t r = 0; r < 16; ++r) {
    for (size_t k = 0; k < 16; ++k) {
      const float x = a[r * 16 + k];
      for (size_t n = 0; n < columns; ++n) d[r * columns + n] += x * b[k * columns + n];
    }
  }
  const auto same = [&](const Operation& o) { return o.sums[0] == op.sums[0]; };
  bool more = std::any_of(w.open.begin(), w.open.end(), same);
  for (const auto& group : w.groups) more = more || std::any_of(group.begin(), group.end(), same);
  if (more) return;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    for (size_t i = 0; i < columns / 2; ++i) op.sums[lane][i] = d[place_of(lane, i, columns)];
  }
  w.pending.erase(op.sums[0]);
}

// --- Tensor maps -------------------------------------------------------------------------------

struct TensorMap {
  const unsigned char* address;
  uint64_t sizes[3], strides[3];  // elements; bytes
  uint32_t box[3], element_bytes;
  bool swizzle;
};
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

}  // namespace

uint32_t shared_address(const void* p) {
  const auto* at = static_cast<const unsigned char*>(p);
  if (at < dynamic_shared || at >= dynamic_shared + dynamic_shared_bytes) {
    die("an address is not in the block's shared memory");
  }
  return uint32_t(at - dynamic_shared);
}

void barrier_init(uint64_t* barrier, uint32_t arrivals) {
  if (arrivals == 0 || arrivals > 1024) die("a barrier for no threads, or too many");
  faults_hopper_kernel();
  hang_if_planted(Faulty::hopper);
  BarrierState state{};
  state.expected = state.missing = uint16_t(arrivals);
  *barrier = std::bit_cast<uint64_t>(state);
}
void barrier_arrive(uint64_t* barrier, uint32_t bytes) {
  BarrierState state = load(barrier);
  if (state.missing == 0) die("more threads arrive at a barrier than it expects");
  --state.missing;
  state.bytes += int32_t(bytes);
  store(barrier, state);
}
void barrier_wait(uint64_t* barrier, uint32_t parity, const char* name) {
  const auto ended = [barrier, parity] { return load(barrier).phase != parity; };
  if (ended()) return;
  const auto wait = waits.insert(name);
  wait_until(ended);
  waits.erase(wait);
}
std::string barriers_waited_for() {
  std::string names;
  for (auto wait = waits.begin(); wait != waits.end(); wait = waits.upper_bound(*wait)) {
    names += "; " + std::to_string(waits.count(*wait)) + " at '" + *wait + "'";
  }
  return names;
}

void named_barrier(int barrier, int threads, bool wait) {
  if (barrier < 1 || barrier > 15 || threads <= 0 || threads % 32 != 0) die("no such barrier");
  NamedBarrier& b = named[barrier];
  if (b.count > 0 && b.threads != threads) die("threads disagree on a barrier's size");
  b.threads = threads;
  const unsigned generation = b.generation;
  if (++b.count == threads) {
    b.count = 0;
    ++b.generation;
  } else if (wait) {
    wait_until([&b, generation] { return b.generation != generation; });
  }
}

CUresult encode_tensor_map(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                           void* address, const cuuint64_t* sizes, const cuuint64_t* strides,
                           const cuuint32_t* box, const cuuint32_t* element_strides,
                           CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                           CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  TensorMap m{};
  m.address = static_cast<const unsigned char*>(address);
  m.element_bytes = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ? 2 : 4;
  m.swizzle = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  if (rank != 3 || reinterpret_cast<uintptr_t>(address) % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < rank; ++i) {
    m.sizes[i] = sizes[i];
    m.strides[i] = i == 0 ? m.element_bytes : strides[i - 1];
    m.box[i] = box[i];
    if (sizes[i] == 0 || sizes[i] > uint64_t(1) << 32 || box[i] == 0 || box[i] > 256 ||
        element_strides[i] != 1 || (i > 0 && m.strides[i] % 16 != 0) ||
        m.strides[i] >= uint64_t(1) << 40) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  const uint32_t row = m.box[0] * m.element_bytes;
  if (row % 16 != 0 || (m.swizzle && row > 128)) return CUDA_ERROR_INVALID_VALUE;
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, &m, sizeof m);
  return CUDA_SUCCESS;
}

void copy_box(void* dst, const void* map, uint64_t* barrier, std::array<int32_t, 3> at) {
  TensorMap m;
  std::memcpy(&m, map, sizeof m);
  const size_t row = m.box[0] * m.element_bytes, bytes = row * m.box[1] * m.box[2];
  const size_t to = shared_address(dst);
  in_shared(to, bytes);
  if (m.swizzle && (row != 128 || to % 1024 != 0)) die("a tile that products could not read");
  later([m, to, barrier, at, row, bytes] {
    const bool lost = goes_wrong(Faulty::hopper, Fault::stale);
    for (size_t i = 0; !lost && i < m.box[1] * m.box[2]; ++i) {
      const int64_t c1 = at[1] + int64_t(i % m.box[1]), c2 = at[2] + int64_t(i / m.box[1]);
      for (size_t c = 0; c < row; c += m.element_bytes) {
        const int64_t c0 = at[0] + int64_t(c / m.element_bytes);
        const bool inside = c0 >= 0 && c0 < int64_t(m.sizes[0]) && c1 >= 0 &&
                            c1 < int64_t(m.sizes[1]) && c2 >= 0 && c2 < int64_t(m.sizes[2]);
        const size_t linear = to + i * row + c;
        unsigned char* element = in_shared(m.swizzle ? swizzled(linear) : linear, m.element_bytes);
        if (inside) {
          const auto offset = uint64_t(c0) * m.strides[0] + uint64_t(c1) * m.strides[1] +
                              uint64_t(c2) * m.strides[2];
          std::memcpy(element, m.address + offset, m.element_bytes);
        } else {
          std::memset(element, 0, m.element_bytes);
        }
      }
    }
    BarrierState state = load(barrier);
    state.bytes -= int32_t(bytes);
    store(barrier, state);
  });
}

void product(const Product& mine) {
  Posted posted{mine, {}};
  if (mine.a_registers != nullptr) std::memcpy(posted.a, mine.a_registers, sizeof posted.a);
  const auto* all = post(kAll, &posted, sizeof posted);
  WarpProducts& w = products[current.warp];
  if (!first_lane(w)) return;
  Operation op{};
  for (size_t lane = 0; lane < kLanes; ++lane) {
    std::memcpy(&posted, all[lane], sizeof posted);
    if (lane == 0) op.product = posted.product;
    if (posted.product.a != op.product.a || posted.product.b != op.product.b ||
        posted.product.add != op.product.add || posted.product.columns != op.product.columns) {
      die("lanes of a warp issue different products");
    }
    op.sums[lane] = posted.product.sums;
    op.a_registers[lane] = posted.product.a_registers;
    std::memcpy(op.a[lane], posted.a, sizeof posted.a);
  }
  op.sum_of_operands = sum_of(op, current.warp);
  w.history = mixed(mixed(mixed(w.history, op.product.a), op.product.b), op.product.columns);
  issue(w, op);
}

void commit_products() {
  const char none = 0;
  post(kAll, &none, 1);
  WarpProducts& w = products[current.warp];
  if (first_lane(w)) w.groups.push_back(std::exchange(w.open, {}));
}

void wait_for_products(int groups_left) {
  const char none = 0;
  post(kAll, &none, 1);
  WarpProducts& w = products[current.warp];
  if (!first_lane(w)) return;
  while (w.groups.size() > size_t(groups_left)) {
    auto& group = w.groups.front();
    while (!group.empty()) {
      const Operation op = group.front();
      group.pop_front();  // what is left shows whether more is added to the same sums
      work_out(w, op, current.warp);
    }
    w.groups.pop_front();
  }
}

void hopper_block_begins(unsigned warps) {
  products.assign(warps, {});
  for (NamedBarrier& b : named) b = {};
  waits.clear();
}
void hopper_block_ends() {
  for (size_t w = 0; w < products.size(); ++w) {
    if (!products[w].open.empty() || !products[w].groups.empty()) {
      die("a block ends with products that nobody waited for");
    }
    if (products[w].history != products[w / 4 * 4].history) {
      die("warps of a group issued different products");
    }
  }
}

}  // namespace elastron::emulator

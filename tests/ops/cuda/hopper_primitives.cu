#include <cstring>

#include "core/cuda/launch.h"
#include "ops/cuda/hopper.h"
#include "tests/ops/cuda/hopper_primitives.h"

namespace elastron::testing {

using namespace ops::cuda;

namespace {

// Dynamic shared memory at the alignment of tiles; as much more is asked for.
[[maybe_unused]] __device__ unsigned char* tile_bytes() {
  auto* memory = dynamic_shared_memory<unsigned char>();
  const uint32_t past = shared_address(memory) % kTileAlignment;
  return memory + (past == 0 ? 0 : kTileAlignment - past);
}
[[maybe_unused]] __device__ void put(unsigned char* tile, size_t at, bf16 value) {
  *reinterpret_cast<bf16*>(tile + at) = value;
}

// x [rows, columns] as a tile, by all threads.
[[maybe_unused]] __device__ void fill(unsigned char* tile, const bf16* x, float factor, int rows,
                                      int columns, bool turned) {
  for (int i = int(threadIdx.x); i < rows * columns; i += int(blockDim.x)) {
    const int r = i / columns, c = i % columns;
    const size_t at = turned ? in_tile(size_t(c), size_t(r), size_t(columns))
                             : in_tile(size_t(r), size_t(c), size_t(rows));
    put(tile, at, bf16(factor * float(x[i])));
  }
}

// A warpgroup's fragment of a [64, sum] for step `step`: two numbers to a word.
[[maybe_unused]] __device__ uint32_t fragment(const bf16* a, float factor, int sum, int step,
                                              int i) {
  const int thread = int(threadIdx.x) % kWarpgroup;
  const int row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8;
  const int k = step * 16 + i / 2 * 8 + thread % 4 * 2;
  return packed_bf16(factor * float(a[row * sum + k]), factor * float(a[row * sum + k + 1]));
}

template <int kN, int kSum, Major kA, Major kB, bool kRegisters>
__global__ void __launch_bounds__(2 * kWarpgroup, 1)
    product_kernel(const bf16* a, const bf16* b, const float* before, float* d_all) {
#if ELASTRON_HOPPER_CODE
  constexpr uint32_t kBytesA = 64 * kSum * 2;
  unsigned char* memory = tile_bytes();
  const int group = int(threadIdx.x) / kWarpgroup, thread = int(threadIdx.x) % kWarpgroup;
  fill(memory, a, 1, 64, kSum, kA == Major::mn);
  fill(memory + kBytesA, a, 2, 64, kSum, kA == Major::mn);
  fill(memory + 2 * kBytesA, b, 1, kN, kSum, kB == Major::mn);
  fence_for_async();
  __syncthreads();
  float d[kN / 8][4];
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) {
    d[i / 4][i % 4] =
        before[d_row(size_t(thread), size_t(i)) * kN + d_column(size_t(thread), size_t(i))];
  }
  uint32_t fragments[kSum / 16][4];
#pragma unroll
  for (int step = 0; step < kSum / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) fragments[step][i] = fragment(a, float(group + 1), kSum, step, i);
  }
  // 64 columns of a turned operand are as long as the sum, of another as its rows.
  const Operand<kA> a_tile(shared_address(memory) + uint32_t(group) * kBytesA,
                           uint32_t(kA == Major::mn ? kSum : 64) * kRowBytes);
  const Operand<kB> b_tile(shared_address(memory) + 2 * kBytesA,
                           uint32_t(kB == Major::mn ? kSum : kN) * kRowBytes);
  products_begin(d, fragments);
#pragma unroll
  for (int step = 0; step < kSum / 16; ++step) {
    if constexpr (kRegisters) {
      product<kN, kB>(d, fragments[step], b_tile.step(step), true);
    } else {
      product<kN, kA, kB>(d, a_tile.step(step), b_tile.step(step), true);
    }
  }
  products_commit();
  products_wait<0>(d, fragments);
  float* own = d_all + group * 64 * kN;
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) {
    own[d_row(size_t(thread), size_t(i)) * kN + d_column(size_t(thread), size_t(i))] =
        d[i / 4][i % 4];
  }
#else
  no_hopper_code();
#endif
}

__global__ void __launch_bounds__(kWarpgroup, 1)
    copy_kernel(const __grid_constant__ CUtensorMap map, int32_t head, int32_t token, int32_t rows,
                int32_t tile_rows, bf16 filler, bf16* out) {
#if ELASTRON_HOPPER_CODE
  auto* tile = reinterpret_cast<bf16*>(tile_bytes());
  const int numbers = tile_rows * 2 * kTileColumns;
  auto& barrier = *reinterpret_cast<Barrier*>(tile + numbers);
  for (int i = int(threadIdx.x); i < numbers; i += kWarpgroup) tile[i] = filler;
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    barrier_init_fence();
  }
  fence_for_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    barrier_arrive_expect(barrier, uint32_t(2 * rows * kRowBytes));
    copy_box(tile, map, barrier, 0, head, token);
    copy_box(tile + tile_rows * kTileColumns, map, barrier, 64, head, token);
  }
  barrier_wait(barrier, 0, "copy test: the box");
  for (int i = int(threadIdx.x); i < numbers; i += kWarpgroup) out[i] = tile[i];
#else
  no_hopper_code();
#endif
}

constexpr int kConsumersOfRing = 64;

__global__ void __launch_bounds__(kConsumersOfRing + kWarp, 1)
    ring_kernel(const __grid_constant__ CUtensorMap map, int32_t items, bf16* seen) {
#if ELASTRON_HOPPER_CODE
  unsigned char* buffers = tile_bytes();
  auto* full = reinterpret_cast<Barrier*>(buffers + 2 * kTileAlignment);
  Barrier* empty = full + 2;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      barrier_init(full[i], 1);
      barrier_init(empty[i], kConsumersOfRing);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (int(threadIdx.x) >= kConsumersOfRing) {
    for (int32_t i = 0; threadIdx.x % kWarp == 0 && i < items; ++i) {
      barrier_wait(empty[i % 2], uint32_t(i / 2 + 1) & 1, "ring test: a free buffer");
      barrier_arrive_expect(full[i % 2], kRowBytes);
      copy_box(buffers + i % 2 * kTileAlignment, map, full[i % 2], 0, 0, i);
    }
    return;
  }
  for (int32_t i = 0; i < items; ++i) {
    barrier_wait(full[i % 2], uint32_t(i / 2) & 1, "ring test: a row");
    const auto* row = reinterpret_cast<const bf16*>(buffers + i % 2 * kTileAlignment);
    seen[i * kConsumersOfRing + int(threadIdx.x)] = row[threadIdx.x];
    // The last two go by the other way to arrive.
    if (i + 2 < items) {
      barrier_arrive(empty[i % 2]);
    } else {
      barrier_arrive_if(true, empty[i % 2]);
      barrier_arrive_if(false, empty[i % 2]);
    }
  }
#else
  no_hopper_code();
#endif
}

__global__ void __launch_bounds__(2 * kWarpgroup, 1) turns_kernel(int32_t turns, int32_t* order) {
#if ELASTRON_HOPPER_CODE
  auto* next = dynamic_shared_memory<volatile int32_t>();
  if (threadIdx.x == 0) *next = 0;
  __syncthreads();
  const int group = int(threadIdx.x) / kWarpgroup;
  if (group == 1) named_barrier_arrive(1, 2 * kWarpgroup);
  for (int32_t i = 0; i < turns; ++i) {
    named_barrier_sync(1 + group, 2 * kWarpgroup);
    if (threadIdx.x % kWarpgroup == 7) {
      order[*next] = group;
      *next = *next + 1;
    }
    named_barrier_sync(3 + group, kWarpgroup);
    named_barrier_arrive(2 - group, 2 * kWarpgroup);
  }
  if (group == 0) named_barrier_sync(1, 2 * kWarpgroup);  // what the other one arrived at last
#else
  no_hopper_code();
#endif
}

__global__ void __launch_bounds__(kKeepers + kWarpgroup, 1) registers_kernel(uint32_t* numbers) {
#if ELASTRON_HOPPER_CODE
  if (int(threadIdx.x) >= kKeepers) {
    keep_registers<72>();
  } else {
    take_registers<216>();
    uint32_t x[kKeptNumbers];
    uint32_t* own = numbers + threadIdx.x * kKeptNumbers;
#pragma unroll
    for (int i = 0; i < kKeptNumbers; ++i) x[i] = own[i];
    mix_numbers(x);
#pragma unroll
    for (int i = 0; i < kKeptNumbers; ++i) own[i] = x[i];
  }
#else
  no_hopper_code();
#endif
}

template <int kN, int kSum, Major kA, Major kB, bool kRegisters>
constexpr ProductCase case_of() {
  return {kN, kSum, kA == Major::mn, kB == Major::mn, kRegisters};
}
using Run = void (*)(const bf16*, const bf16*, const float*, float*, Stream);
template <int kN, int kSum, Major kA, Major kB, bool kRegisters>
void run(const bf16* a, const bf16* b, const float* before, float* d, Stream stream) {
  elastron::cuda::launch("product_test", product_kernel<kN, kSum, kA, kB, kRegisters>,
                         {dim3(1), dim3(2 * kWarpgroup), (2 * 64 + kN) * kSum * 2 + kTileAlignment},
                         stream, a, b, before, d);
}

constexpr Major k = Major::k, mn = Major::mn;
#define ELASTRON_PRODUCTS(each)                                                               \
  each(128, 128, k, k, false), each(64, 64, k, k, false), each(128, 64, k, mn, false),        \
      each(64, 128, k, mn, false), each(64, 64, mn, k, false), each(128, 128, mn, mn, false), \
      each(64, 128, k, k, false), each(128, 64, k, k, false), each(128, 128, k, k, true),     \
      each(64, 128, k, mn, true), each(128, 64, k, mn, true), each(64, 64, k, mn, true),      \
      each(128, 128, k, mn, true)
#define ELASTRON_CASE(n, sum, a, b, registers) case_of<n, sum, a, b, registers>()
#define ELASTRON_RUN(n, sum, a, b, registers) run<n, sum, a, b, registers>
constexpr ProductCase kCases[] = {ELASTRON_PRODUCTS(ELASTRON_CASE)};
constexpr Run kRuns[] = {ELASTRON_PRODUCTS(ELASTRON_RUN)};
#undef ELASTRON_PRODUCTS
#undef ELASTRON_CASE
#undef ELASTRON_RUN

}  // namespace

std::span<const ProductCase> product_cases() { return kCases; }

void run_product(const ProductCase& what, const bf16* a, const bf16* b, const float* before,
                 float* d, Stream stream) {
  kRuns[&what - kCases](a, b, before, d, stream);
}

void run_copy(const CUtensorMap& map, int32_t head, int32_t token, int32_t rows, int32_t tile_rows,
              bf16 filler, bf16* tiles, Stream stream) {
  const size_t bytes = size_t(tile_rows) * 2 * kRowBytes + sizeof(Barrier) + kTileAlignment;
  elastron::cuda::launch("copy_test", copy_kernel, {dim3(1), dim3(kWarpgroup), bytes}, stream, map,
                         head, token, rows, tile_rows, filler, tiles);
}

void run_ring(const CUtensorMap& map, int32_t items, bf16* seen, Stream stream) {
  elastron::cuda::launch(
      "ring_test", ring_kernel,
      {dim3(1), dim3(kConsumersOfRing + kWarp), 3 * kTileAlignment + 4 * sizeof(Barrier)}, stream,
      map, items, seen);
}

void run_turns(int32_t turns, int32_t* order, Stream stream) {
  elastron::cuda::launch("turns_test", turns_kernel,
                         {dim3(1), dim3(2 * kWarpgroup), sizeof(int32_t)}, stream, turns, order);
}

void run_registers(uint32_t* numbers, Stream stream) {
  elastron::cuda::launch("registers_test", registers_kernel, {dim3(1), dim3(kKeepers + kWarpgroup)},
                         stream, numbers);
}

}  // namespace elastron::testing

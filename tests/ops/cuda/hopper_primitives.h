// What hopper_primitives_test.cpp runs: one kernel per instruction of ops/cuda/hopper.h, which does
// nothing else. Pointers are into the device's memory.
#pragma once
#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/cuda/stream.h"
#include "core/dtype.h"

namespace elastron::testing {

using elastron::cuda::Stream;

// Byte offset of a number in tiles of `rows` rows that stand one after another, 64 columns each:
// written here as the definition words it, on purpose not as ops/cuda/hopper.h has it.
constexpr size_t in_tile(size_t row, size_t column, size_t rows) {
  const size_t chunk = column % 64 / 8;
  return column / 64 * rows * 128 + row * 128 + (chunk ^ row % 8) * 16 + column % 8 * 2;
}
// PTX ISA, "wgmma accumulator fragment D": element i of a thread of the group.
constexpr size_t d_row(size_t thread, size_t i) {
  return thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
}
constexpr size_t d_column(size_t thread, size_t i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

// A product d [2, 64, columns] = before [64, columns] + a [64, sum] b [columns, sum]^T, by two
// warpgroups at once, the second with twice a. Turned operands stand in shared memory transposed;
// a may come from registers.
struct ProductCase {
  int columns, sum;
  bool a_turned, b_turned, a_registers;
};
std::span<const ProductCase> product_cases();
void run_product(const ProductCase& what, const bf16* a, const bf16* b, const float* before,
                 float* d, Stream stream);

// A box of `map` (64 columns, twice) of `rows` rows as it arrives in tiles of tile_rows rows that
// hold `filler` before: tiles [tile_rows * 128] as they stand in shared memory.
void run_copy(const CUtensorMap& map, int32_t head, int32_t token, int32_t rows, int32_t tile_rows,
              bf16 filler, bf16* tiles, Stream stream);

// A ring of two buffers from one producer to 64 consumer threads: `map` has rows of 64 numbers, one
// to a box; seen [items, 64] is what each consumer finds in its column.
void run_ring(const CUtensorMap& map, int32_t items, bf16* seen, Stream stream);

// Two warpgroups take turns by named barriers: order [2 turns] is whose each turn was.
void run_turns(int32_t turns, int32_t* order, Stream stream);

// Registers are handed from one warpgroup to two others, which then keep kKeptNumbers numbers each:
// from `numbers` [256, kKeptNumbers], mixed in place by mix_numbers().
inline constexpr int kKeptNumbers = 160, kKeepers = 256;
template <class Numbers>
constexpr void mix_numbers(Numbers& x) {
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
  for (int i = 0; i < 3 * kKeptNumbers; ++i) {
    x[i % kKeptNumbers] = x[i % kKeptNumbers] * 3 + x[(i * 7 + 1) % kKeptNumbers];
  }
}
void run_registers(uint32_t* numbers, Stream stream);

}  // namespace elastron::testing

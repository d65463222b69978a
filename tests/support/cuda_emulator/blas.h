// What the stand-in for cuBLASLt was asked, and what it shall answer.
#pragma once
#include <cstdint>
#include <functional>

namespace elastron::emulator {

struct Blas {
  int64_t queries = 0;     // for one algorithm or more
  int64_t candidates = 0;  // of these, for several: what is about to be timed
  int64_t checks = 0;      // of a known algorithm with other sizes
  int64_t products = 0;
  uint64_t last_algorithm = 0;  // of kAlgorithms; the first is what a query gives first
  // Of each product: where its result goes, what it does with what is there, and its columns.
  std::function<void(const void* to, double beta, int64_t columns)> seen;
  // False: products leave their results as they are, for sizes that take too long.
  bool computes = true;
  // The algorithm takes a result of so many rows and columns; null: all do.
  std::function<bool(uint64_t algorithm, int64_t rows, int64_t columns)> takes;
};
Blas& blas();

// They compute the same; by the events' clock the last is the fastest.
inline constexpr uint64_t kAlgorithms = 3;

}  // namespace elastron::emulator

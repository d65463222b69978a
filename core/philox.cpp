#include "core/philox.h"

#include <cmath>
#include <numbers>

namespace elastron {

double RandomStream::normal_at(uint64_t index) const {
  const double u = (double(bits_at(2 * index)) + 1.0) * 0x1p-32;  // (0, 1]
  const double v = double(bits_at(2 * index + 1)) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

uint32_t RandomStream::next_below(uint32_t n) {
  // Lemire's method: reject the short, biased part of the range.
  const uint32_t threshold = (0u - n) % n;
  while (true) {
    const uint64_t product = uint64_t(next_bits()) * n;
    if (uint32_t(product) >= threshold) return uint32_t(product >> 32);
  }
}

uint32_t random_coordinate(std::string_view name) {
  uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ uint8_t(c)) * 16777619u;
  return hash;
}

}  // namespace elastron

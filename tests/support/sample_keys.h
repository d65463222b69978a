// Names of documents whose noise is drawn.
#pragma once
#include <cstdint>
#include <numeric>
#include <vector>

namespace elastron::test {

// first, first + 1, ...
inline std::vector<uint32_t> keys_from(uint32_t first, int64_t n) {
  std::vector<uint32_t> keys(static_cast<size_t>(n));
  std::iota(keys.begin(), keys.end(), first);
  return keys;
}

}  // namespace elastron::test

// Parts of a text, by bytes.
#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace elastron::data {

struct TextRange {
  size_t begin = 0, end = 0;
  bool operator==(const TextRange&) const = default;
};

// Cuts the ranges to [begin, end), counted from `begin`. They ascend and do not overlap.
inline std::vector<TextRange> ranges_within(std::span<const TextRange> ranges, size_t begin,
                                            size_t end) {
  std::vector<TextRange> inside;
  for (const TextRange& range : ranges) {
    const size_t from = std::max(range.begin, begin), to = std::min(range.end, end);
    if (from < to) inside.push_back({from - begin, to - begin});
  }
  return inside;
}

}  // namespace elastron::data

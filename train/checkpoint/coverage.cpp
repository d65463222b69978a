#include "train/checkpoint/coverage.h"

#include <algorithm>
#include <vector>

namespace elastron::train {

std::string tiling_fault(const Shape& logical, std::span<const Partition> partitions) {
  if (partitions.empty()) return "nobody holds it";
  std::vector<Partition> parts(partitions.begin(), partitions.end());
  const int dim = parts.front().dim;
  for (const Partition& p : parts) {
    if (p.replicated() != (dim < 0) || (dim >= 0 && p.dim != dim)) {
      return "ranks split it in different ways";
    }
  }
  if (dim < 0) return {};
  if (dim >= logical.rank()) return "it has no dim " + std::to_string(dim);
  std::ranges::sort(parts, {}, &Partition::offset);
  int64_t at = 0;
  for (const Partition& p : parts) {
    if (p.size < 0) return "a part has a negative size";
    if (p.offset < at) return "rows from " + std::to_string(p.offset) + " are held twice";
    if (p.offset > at) return "rows from " + std::to_string(at) + " are held by nobody";
    at += p.size;
  }
  if (at == logical[dim]) return {};
  return at < logical[dim] ? "rows from " + std::to_string(at) + " are held by nobody"
                           : "its parts reach beyond its end";
}

}  // namespace elastron::train

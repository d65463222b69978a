#include "model/gathered_memory.h"

#include <algorithm>

namespace elastron::model {

// Keys, then values: each is freed as it came when it stands in order.
int64_t GatheredMemory::put_in_order() const {
  return std::max(2 * arriving + read, arriving + 2 * read);
}

int64_t GatheredMemory::others() const {
  return groups > 1 ? 2 * (arriving + read) : put_in_order();
}

int64_t GatheredMemory::forward(bool both) const {
  const int64_t rows = groups * rows_part, output = q_part + rows_part;
  const int64_t kept = (both ? output : 0) + rows_part;  // of a group, beside what is put together
  int64_t most = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t next = g + 1 < groups ? 2 * arriving : 0;
    const int64_t before = g > 0 ? q + g * kept : 0;
    const int64_t now = output + (both ? output : 0);
    most = std::max(
        {most, before + put_in_order(), before + next + 2 * read + now + forward_workspace});
    if (groups > 1) most = std::max(most, q + g * kept + next + now);
  }
  return most - (q + rows) * (both ? 2 : 1);
}

int64_t GatheredMemory::backward(bool both) const {
  int64_t most = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t next = g + 1 < groups ? 2 * arriving : 0;
    // The gradients of the group before on their way, and those that came.
    const int64_t before = q + (g > 0 ? q + 2 * (arriving + kv_part) : 0) + (g > 1 ? 2 * kv : 0) -
                           g * ((both ? q_part + rows_part : 0) + rows_part);
    const int64_t copy = groups > 1 ? q_part : 0;
    most = std::max({most, before + put_in_order(),
                     before + next + 4 * read + copy + q_part + 2 * rows_part + backward_workspace,
                     // The sums over the keys that were read more than once.
                     before + next + q + 2 * read + arriving});
  }
  return most;
}

}  // namespace elastron::model

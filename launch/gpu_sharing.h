// Which GPU each rank takes.
#pragma once
#include <string>
#include <vector>

namespace elastron::launch {

struct TakenGpu {
  int ordinal = -1;  // among those that the rank sees; -1: it sees none
  int sharers = 0;   // ranks that have this GPU, this one among them
};

// seen[r]: the names of the GPUs that rank r sees, in its order; a name stands for the same GPU on
// every rank. Each rank takes, of those it sees, the one that fewest ranks have so far, the first
// of several. Ranks that see fewest choose first, then by number.
std::vector<TakenGpu> share_gpus(const std::vector<std::vector<std::string>>& seen);

}  // namespace elastron::launch

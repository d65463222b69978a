// What context parallelism does to a rank's work and memory, measured with real ranks.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>

namespace elastron::parallel {
class World;
}

namespace elastron::bench {

struct BalanceShape {
  int64_t tokens = 32768, q_heads = 16, kv_heads = 8, head_dim = 64;
  double msr = 0.7;
  uint64_t seed = 1;
};

// All ranks of the world are one context group. Prints a line per figure on the first.
nlohmann::json context_balance(const BalanceShape& shape, int draws, int windows,
                               parallel::World& world);

struct MemoryShapes {
  int64_t tokens = 65536, layers = 2, hidden = 256;
};

// Training of routers: bytes that a step adds to what is held, on each rank alone and on all ranks
// as one context group.
nlohmann::json context_memory(const MemoryShapes& shapes, parallel::World& world);

}  // namespace elastron::bench

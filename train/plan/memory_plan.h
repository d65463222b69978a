// The memory that one rank of a training step holds on a device, as a step on a meta device has it
// (train/plan/planned_step.h): printed before a run, asked before anything is allocated.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace elastron::train {

struct MemoryItem {
  std::string name;
  int64_t bytes = 0;
};

// Bytes.
struct MemoryPlan {
  int64_t weights = 0;  // of the backbone; trained with gradients, master copies and moments
  int64_t packed = 0;   // copies of frozen weights in the layout that products like (CPU)
  int64_t trained = 0;  // routers, adapters and heads, their gradients and moments
  int64_t tables = 0;   // positions, ids, rotary table
  int64_t saved = 0;    // what all layers keep between forward and backward
  int64_t working = 0;  // the most that one phase needs beside that
  std::string phase;    // which

  std::vector<MemoryItem> layer;   // of `saved`: what one layer keeps
  std::vector<MemoryItem> phases;  // what each phase needs beside `saved`
  // Parts of the above.
  int64_t logits = 0;         // of a chunk
  int64_t communication = 0;  // keys, values and heads of other ranks, at most at one time
  int64_t gradients = 0;      // buckets; in weights and trained

  int64_t held() const { return weights + packed + trained + tables; }
  int64_t total() const { return held() + saved + working; }
};

// "plan for 65536 tokens: 15.3 GiB weights + 18.0 GiB saved + 11.2 GiB working (MLP backward)"
std::string describe(const MemoryPlan& plan, int64_t tokens);
// "15.3 GiB", "812 MiB"
std::string describe_bytes(int64_t bytes);

}  // namespace elastron::train

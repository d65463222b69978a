// What one rank of a training step holds on a device, from shapes alone: printed before a run,
// asked before anything is allocated, and compared with the device's counter in the tests.
// (docs/method.md, Work and time)
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "data/context_shard.h"
#include "model/decoder_config.h"
#include "model/weights/model_config.h"
#include "router/config.h"

namespace elastron::model {

// What a step is run on. Bytes, where nothing else is said.
struct MemoryShape {
  int64_t tokens = 0;   // of a micro batch: of all ranks of the context group together
  int64_t longest = 0;  // tokens of its longest sequence; 0: all of them
  int tensor_ranks = 1;
  int context_ranks = 1;
  int64_t context_block = data::kContextBlock;  // tokens: parts of sequences are of whole ones
  bool exchange_heads = false;                  // Ulysses; otherwise keys and values are gathered
  DeviceKind device = DeviceKind::cuda;
  // What a library takes beside the attention's own outputs.
  ops::AttentionWorkspace attention;
  int optimizer_ranks = 1;  // that share the state of a trained backbone
  // Routers, where there are any; trained ones need both branches' outputs.
  std::optional<router::RouterConfig> routers;
  int64_t tasks = 0;
  bool train_routers = false;
  bool backward = true;  // false: only a head trains
};

struct MemoryItem {
  std::string name;
  int64_t bytes = 0;
};

struct MemoryPlan {
  int64_t weights = 0;  // backbone shards; with a trained backbone also master, gradient, moments
  int64_t packed = 0;   // copies of frozen weights in the layouts that the CPU's products like best
  int64_t trained = 0;  // routers and adapters, their gradients and moments
  int64_t tables = 0;   // positions, ids, rotary table
  int64_t saved = 0;    // what all layers keep between forward and backward
  int64_t working = 0;  // the most that one phase needs beside that
  std::string phase;    // which

  std::vector<MemoryItem> layer;   // of `saved`: what one layer keeps
  std::vector<MemoryItem> phases;  // what each phase needs beside `saved`
  // Parts of the phases above.
  int64_t logits = 0;         // of a chunk
  int64_t communication = 0;  // keys, values and heads of other ranks, at most at one time
  int64_t gradients = 0;      // buckets; in weights and trained

  int64_t held() const { return weights + packed + trained + tables; }
  int64_t total() const { return held() + saved + working; }
};

MemoryPlan plan_memory(const ModelConfig& config, const DecoderOptions& options,
                       const MemoryShape& shape);

// Most rows that a rank of the context group has of a sequence of so many tokens, cut in blocks;
// padded to a multiple of the tensor ranks that share them.
int64_t context_rows(int64_t tokens, int context_ranks, int64_t block, int row_shares = 1);

// "plan for 65536 tokens: 15.3 GiB weights + 18.0 GiB saved + 11.2 GiB working (MLP backward)"
std::string describe(const MemoryPlan& plan, int64_t tokens);
// "15.3 GiB", "812 MiB"
std::string describe_bytes(int64_t bytes);

}  // namespace elastron::model

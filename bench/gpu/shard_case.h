// Attention of one rank of a context group that is not there: its rows, in turn on one device.
#pragma once
#include <memory>

#include "data/context_shard.h"
#include "model/attention_exchange.h"

namespace elastron::bench {

struct ShardShape {
  int64_t tokens, q_heads, kv_heads, head_dim;
  int64_t sink, local;
  int64_t full;  // kv heads that are full, the first ones
  bool ulysses;  // heads are exchanged; otherwise keys and values are gathered
  int ranks, rank;
};

class ShardCase {
 public:
  ShardCase(const ShardShape& shape, Device& device);
  ~ShardCase();
  // Forward with both branches, and backward. Other ranks' rows are copies of the own ones.
  void run();
  // Tiles that the selected branches visited.
  double tiles() const;

 private:
  class Alone;
  std::unique_ptr<Alone> context_;
  data::PackedBatch batch_;
  data::ContextPlan plan_;
  ShardShape shape_;
  Tensor q_, k_, v_, d_out_, gate_, visited_;
  std::unique_ptr<model::AttentionExchange> exchange_;
};

}  // namespace elastron::bench

// Sparsity figures of a document from its hard gates (spec 8).
#pragma once
#include <cstdint>

#include "ops/attention/streaming_rule.h"

namespace elastron::router {

struct SparsityFigures {
  double msr = 0;  // share of (layer, kv head) pairs that run sparse
  double esr_last_layer_last_query =
      0;  // paper, eq. 5: pruned share of keys, last layer's last query
  double esr_all_layers_last_query = 0;
  double esr_all_layers_area = 0;  // 1 - visited pairs / causal pairs: predicts the cost
};

// sparse_heads: of all layers x kv_heads; sparse_heads_last: of the last layer's kv_heads.
SparsityFigures sparsity_figures(int64_t sparse_heads, int64_t sparse_heads_last, int64_t layers,
                                 int64_t kv_heads, int64_t length, const ops::StreamingRule& rule);

// Share of a document's keys, or of its causal pairs, that a streaming head skips.
double skipped_share_last_query(const ops::StreamingRule& rule, int64_t length);
double skipped_share_area(const ops::StreamingRule& rule, int64_t length);

}  // namespace elastron::router

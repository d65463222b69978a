// Sparsity figures of a document from its hard gates (docs/method.md, Sparsity figures).
#pragma once
#include <cstdint>

#include "ops/head_pattern.h"

namespace elastron::router {

struct SparsityFigures {
  double msr = 0;  // share of (layer, kv head) pairs that run sparse
  // The paper's equation 5: the share of keys that the last layer's last query does not read.
  double esr_last_layer_last_query = 0;
  double esr_all_layers_last_query = 0;
  double esr_all_layers_area = 0;  // 1 - visited pairs / causal pairs: predicts the cost
  double esr_tiles = 0;            // 1 - tiles visited / tiles of full attention, as counted
};

// The work of a document's heads. `sparse` and `visited` over all layers x kv_heads, `last` of
// the last layer's kv_heads; `full`: tiles of one kv head under full attention.
struct DocumentHeads {
  int64_t sparse = 0, sparse_last = 0;
  int64_t visited = 0, visited_last = 0;
  int64_t full = 0;
};

// Figures that count pairs follow from the gates and the pattern where heads are full or streaming.
// Where blocks are chosen from the input they are the shares of tiles (docs/method.md, Sparsity
// figures: chosen blocks over causal blocks).
SparsityFigures sparsity_figures(const DocumentHeads& heads, int64_t layers, int64_t kv_heads,
                                 int64_t length, const ops::HeadPattern& pattern);

// Share of a document's keys, or of its causal pairs, that a streaming head skips.
double skipped_share_last_query(const ops::StreamingRule& rule, int64_t length);
double skipped_share_area(const ops::StreamingRule& rule, int64_t length);

}  // namespace elastron::router

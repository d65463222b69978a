#include "router/sparsity.h"

namespace elastron::router {

double skipped_share_last_query(const ops::StreamingRule& rule, int64_t length) {
  if (length == 0) return 0;
  return 1.0 - double(rule.visible_keys(length - 1)) / double(length);
}

double skipped_share_area(const ops::StreamingRule& rule, int64_t length) {
  if (length == 0) return 0;
  return 1.0 - double(ops::visible_pairs(rule, length)) / double(ops::causal_pairs(length));
}

SparsityFigures sparsity_figures(int64_t sparse_heads, int64_t sparse_heads_last, int64_t layers,
                                 int64_t kv_heads, int64_t length, const ops::StreamingRule& rule) {
  const double msr = double(sparse_heads) / double(layers * kv_heads);
  const double last_query = skipped_share_last_query(rule, length);
  return {.msr = msr,
          .esr_last_layer_last_query = double(sparse_heads_last) / double(kv_heads) * last_query,
          .esr_all_layers_last_query = msr * last_query,
          .esr_all_layers_area = msr * skipped_share_area(rule, length)};
}

}  // namespace elastron::router

#include "router/sparsity.h"

namespace elastron::router {

double skipped_share_last_query(const ops::StreamingRule& rule, int64_t length) {
  if (length == 0) return 0;
  return 1.0 - double(rule.within(length).visible_keys(length - 1)) / double(length);
}

double skipped_share_area(const ops::StreamingRule& rule, int64_t length) {
  if (length == 0) return 0;
  return 1.0 - double(ops::visible_pairs(rule, length)) / double(ops::causal_pairs(length));
}

SparsityFigures sparsity_figures(const DocumentHeads& heads, int64_t layers, int64_t kv_heads,
                                 int64_t length, const ops::HeadPattern& pattern) {
  const auto skipped = [&](int64_t visited, int64_t all) {
    return heads.full == 0 ? 0.0 : 1.0 - double(visited) / (double(heads.full) * double(all));
  };
  SparsityFigures figures;
  figures.msr = double(heads.sparse) / double(layers * kv_heads);
  figures.esr_tiles = skipped(heads.visited, layers * kv_heads);
  if (pattern.chooser() != nullptr) {
    figures.esr_last_layer_last_query = skipped(heads.visited_last, kv_heads);
    figures.esr_all_layers_last_query = figures.esr_all_layers_area = figures.esr_tiles;
    return figures;
  }
  const ops::StreamingRule rule = pattern.rule();
  const double last_query = skipped_share_last_query(rule, length);
  figures.esr_last_layer_last_query = double(heads.sparse_last) / double(kv_heads) * last_query;
  figures.esr_all_layers_last_query = figures.msr * last_query;
  figures.esr_all_layers_area = figures.msr * skipped_share_area(rule, length);
  return figures;
}

}  // namespace elastron::router

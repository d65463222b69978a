#include "inference/cache_of_ranks.h"

#include "core/trace.h"
#include "model/exchange_rows.h"

namespace elastron::inference {

using model::heads_part;

CacheOfRanks::CacheOfRanks(model::KvCache& own, const model::LocalBatch& prompt,
                           parallel::Communicator& context,
                           const parallel::Communicator* heads_over, Device& device)
    : own_(own), context_(context), shares_rows_(prompt.plan().ranks() > 0) {
  if (heads_over != nullptr) {
    part_ = heads_over->rank();
    parts_ = heads_over->size();
  }
  if (!shares_rows_) return;
  const data::ContextPlan& plan = prompt.plan();
  model::RowMap tokens(plan.rows * plan.ranks());
  const auto runs = model::runs_of(plan, 1);
  for (const model::RankRun& run : runs.front()) {
    tokens.append(run.row, run.end - run.begin);
  }
  tokens_ = model::on_device({tokens}, device).front();
}

void CacheOfRanks::fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) {
  const TraceRange range("cache of ranks");
  const Tensor own_gate = heads_part(gate, part_, parts_).clone();
  if (!shares_rows_) {
    own_.fill(layer, heads_part(k, part_, parts_).clone(), heads_part(v, part_, parts_).clone(),
              own_gate);
    return;
  }
  const auto ordered = model::in_order(rows_of_heads(k, v), tokens_);
  own_.fill(layer, ordered.k, ordered.v, own_gate);
}

// -> [ranks * T, 2, K / parts, D]: all ranks' rows of this rank's heads.
Tensor CacheOfRanks::rows_of_heads(const Tensor& k, const Tensor& v) const {
  const int64_t rows = k.size(0), heads = k.size(1) / parts_;
  const auto empty = [&](int64_t n) {
    return Tensor::empty({n * rows, 2, heads, k.size(2)}, k.dtype(), k.device());
  };
  const Tensor sent = empty(parts_);  // a part behind the other
  std::vector<Tensor> from, to;
  for (int64_t p = 0; p < parts_; ++p) {
    const Tensor part = sent.slice(0, p * rows, (p + 1) * rows);
    from.insert(from.end(), {heads_part(k, p, parts_), heads_part(v, p, parts_)});
    to.insert(to.end(), {model::keys_of(part), model::values_of(part)});
  }
  ops::gather_rows(from, {}, to);
  Tensor all = empty(context_.size());
  (parts_ == 1 ? context_.all_gather(sent, all) : context_.all_to_all(sent, all)).wait();
  return all;
}

}  // namespace elastron::inference

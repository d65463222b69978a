#include <utility>

#include "core/trace.h"
#include "model/exchange_rows.h"

namespace elastron::model {

namespace {

class ExchangedHeads final : public AttentionExchange {
 public:
  ExchangedHeads(const data::PackedBatch& batch, const data::ContextPlan& plan,
                 parallel::Communicator& context, Device& device)
      : context_(context), sequences_(batch) {
    RowMap tokens(plan.rows * plan.ranks());
    for (const auto& of_sequence : runs_of(plan, batch.sequences())) {
      for (const RankRun& run : of_sequence) tokens.append(run.row, run.end - run.begin);
    }
    std::vector<RowMap> maps = {tokens, sequences_.document_map()};
    if (sequences_.share_prompts()) maps.push_back(sequences_.keys(tokens));
    const auto indices = on_device(maps, device);
    tokens_ = indices[0];
    document_of_ = indices[1];
    keys_ = sequences_.share_prompts() ? indices[2] : tokens_;
  }

  ops::Varlen varlen() const override { return sequences_.varlen(); }
  const std::vector<int32_t>& documents() const override { return sequences_.documents(); }
  int64_t first_kv_head(int64_t kv_heads) const override {
    return kv_heads / context_.size() * context_.rank();
  }

  Begun begin(const Tensor& k, const Tensor& v) const override {
    Begun begun;
    begun.keys = exchanged({k, v});
    return begun;
  }
  void begin_queries(const Tensor& q, Begun& begun) const override { begun.q = exchanged({q}); }
  Attended forward(Begun& begun, const Tensor& gate, const Describe& describe,
                   ops::Branches branches, bool again) const override {
    in_order(begun);
    Attended attended{
        .groups = {},
        .gates = gates_of(heads_part(gate, context_.rank(), context_.size()), document_of_),
        .visited = {}};
    const auto in = input(begun, attended.gates, describe);
    if (!again) begun = {};
    attended.groups.push_back(ops::routed_attention_forward(in, branches));
    attended.visited = attended.groups.front().visited;
    return attended;
  }
  Tensor own_rows(const Attended& attended) const override {
    return to_owners(attended.groups.front().selected);
  }
  ops::RoutedAttentionGradient backward(Tensor d_out, Begun begun, const Tensor& gate,
                                        const Describe& describe, Attended attended, bool need_qkv,
                                        bool need_gate) const override {
    in_order(begun);
    Rows d_rows = exchanged({d_out});
    d_out = in_order(d_rows);
    auto in = input(begun, attended.gates, describe);
    begun = {};
    auto d =
        ops::routed_attention_backward(d_out, in, attended.groups.front(), need_qkv, need_gate);
    d_out = {};
    in = {};
    attended = {};
    if (need_qkv) {
      d.q = to_owners(std::exchange(d.q, {}));
      const Tensor sums = summed(std::exchange(d.k, {}), std::exchange(d.v, {}), keys_);
      auto whole = put_heads(all_to_all(sums), 2);
      d.k = std::move(whole[0]);
      d.v = std::move(whole[1]);
    }
    if (need_gate) {
      const Tensor whole = Tensor::zeros(gate.shape(), d.gate.dtype(), gate.device());
      ops::sum_rows({d.gate}, document_of_.copies,
                    {heads_part(whole, context_.rank(), context_.size())});
      d.gate = whole;
    }
    return d;
  }

 private:
  Tensor all_to_all(const Tensor& parts) const {
    Tensor all = with_rows(parts, parts.size(0));
    context_.all_to_all(parts, all).wait();
    return all;
  }

  // Part r of the heads of each tensor [T, heads, D] goes to rank r, all in one, and comes from it:
  // [ranks * T, tensors, heads / ranks, D].
  Rows exchanged(const std::vector<Tensor>& own) const {
    const TraceRange range(kOtherRanks);
    const Tensor& first = own.front();
    const int64_t ranks = context_.size(), rows = first.size(0);
    const auto tensors = int64_t(own.size());
    Tensor parts = Tensor::empty({ranks * rows, tensors, first.size(1) / ranks, first.size(2)},
                                 first.dtype(), first.device());
    std::vector<Tensor> from, to;
    for (int64_t r = 0; r < ranks; ++r) {
      const Tensor part = parts.slice(0, r * rows, (r + 1) * rows);
      for (int64_t t = 0; t < tensors; ++t) {
        from.push_back(heads_part(own[size_t(t)], r, ranks));
        to.push_back(part.slice(1, t, t + 1));
      }
    }
    ops::gather_rows(from, {}, to);
    Tensor all = with_rows(parts, parts.size(0));
    auto pending = std::make_unique<parallel::Pending>(context_.all_to_all(parts, all));
    return {std::move(all), std::move(pending)};
  }
  // What came that way, of all ranks' heads: `tensors` tensors [T, heads, D].
  std::vector<Tensor> put_heads(const Tensor& all, int64_t tensors) const {
    const int64_t ranks = context_.size(), rows = all.size(0) / ranks, heads = all.size(2);
    std::vector<Tensor> whole, from, to;
    for (int64_t t = 0; t < tensors; ++t) {
      whole.push_back(Tensor::empty({rows, heads * ranks, all.size(3)}, all.dtype(), all.device()));
    }
    for (int64_t r = 0; r < ranks; ++r) {
      const Tensor part = all.slice(0, r * rows, (r + 1) * rows);
      for (int64_t t = 0; t < tensors; ++t) {
        from.push_back(part.slice(1, t, t + 1));
        to.push_back(heads_part(whole[size_t(t)], r, ranks));
      }
    }
    ops::gather_rows(from, {}, to);
    return whole;
  }
  // All rows of this rank's heads [tokens, heads, D] -> own rows of all heads.
  Tensor to_owners(const Tensor& rows) const {
    Tensor parts =
        Tensor::empty({tokens_.rows, 1, rows.size(1), rows.size(2)}, rows.dtype(), rows.device());
    ops::sum_rows({rows}, tokens_.copies, {parts});  // each is there once, or is padding
    return put_heads(all_to_all(parts), 1).front();
  }

  Tensor in_order(Rows& rows) const {
    const TraceRange range(kOtherRanks);
    const Tensor all = arrived(rows);
    Tensor ordered =
        Tensor::empty({tokens_.count, all.size(2), all.size(3)}, all.dtype(), all.device());
    ops::gather_rows({all}, tokens_.row_of, {ordered});
    return ordered;
  }
  // Of what was begun all that has not been put in order before.
  void in_order(Begun& begun) const {
    if (begun.q.pending) begun.q.rows = in_order(begun.q);
    if (!begun.keys.pending) return;
    const TraceRange range(kOtherRanks);
    auto [k, v] = model::in_order(arrived(begun.keys), keys_);
    begun.k = std::move(k);
    begun.v = std::move(v);
  }
  ops::RoutedAttentionInput input(const Begun& begun, const Tensor& gates,
                                  const Describe& describe) const {
    ops::RoutedAttentionInput in;
    in.q = begun.q.rows;
    in.k = begun.k;
    in.v = begun.v;
    in.gate = gates;
    in.varlen = varlen();
    describe(in);
    return in;
  }

  parallel::Communicator& context_;
  WholeSequences sequences_;
  // In the ranks' rows, one rank behind the other: all tokens in the batch's order, and the keys of
  // its sequences.
  RowIndex tokens_, keys_;
  RowIndex document_of_;
};

}  // namespace

std::unique_ptr<AttentionExchange> exchanged_heads(const data::PackedBatch& batch,
                                                   const data::ContextPlan& plan,
                                                   parallel::Communicator& context,
                                                   Device& device) {
  return std::make_unique<ExchangedHeads>(batch, plan, context, device);
}

}  // namespace elastron::model

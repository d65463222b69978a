#include <utility>

#include "model/exchange_rows.h"

namespace elastron::model {

namespace {

// All rows are here. In front of each response stands a copy of its prompt's.
class LocalAttention final : public AttentionExchange {
 public:
  LocalAttention(const data::PackedBatch& batch, Device& device)
      : sequences_(batch), several_(!batch.document_of.empty()) {
    std::vector<RowMap> maps;
    if (sequences_.share_prompts()) {
      RowMap tokens(batch.tokens());
      tokens.append(0, batch.tokens());
      maps.push_back(sequences_.keys(tokens));
    }
    if (several_) maps.push_back(sequences_.document_map());
    if (maps.empty()) return;
    auto indices = on_device(maps, device);
    if (sequences_.share_prompts()) keys_ = indices.front();
    if (several_) document_of_ = indices.back();
  }

  ops::Varlen varlen() const override { return sequences_.varlen(); }
  const std::vector<int32_t>& documents() const override { return sequences_.documents(); }
  int64_t first_kv_head(int64_t) const override { return 0; }

  Begun begin(const Tensor& k, const Tensor& v) const override {
    return {.q = {}, .keys = {}, .k = k, .v = v, .own = {}};
  }
  Attended forward(Begun& begun, const Tensor& gate, const Describe& describe,
                   ops::Branches branches, bool again) const override {
    Attended attended{
        .groups = {}, .gates = several_ ? gates_of(gate, document_of_) : gate, .visited = {}};
    const auto in = input(begun, attended.gates, describe);
    if (!again) begun = {};
    attended.groups.push_back(ops::routed_attention_forward(in, branches));
    attended.visited = attended.groups.front().visited;
    return attended;
  }
  Tensor own_rows(const Attended& attended) const override {
    return attended.groups.front().selected;
  }
  ops::RoutedAttentionGradient backward(Tensor d_out, Begun begun, const Tensor&,
                                        const Describe& describe, Attended attended, bool need_qkv,
                                        bool need_gate) const override {
    auto in = input(begun, attended.gates, describe);
    begun = {};
    auto d =
        ops::routed_attention_backward(d_out, in, attended.groups.front(), need_qkv, need_gate);
    d_out = {};
    in = {};
    attended = {};
    if (sequences_.share_prompts() && need_qkv) {
      for (Tensor* t : {&d.k, &d.v}) {
        const Tensor copies = std::exchange(*t, with_rows(*t, keys_.rows));
        ops::sum_rows({copies}, keys_.copies, {*t});
      }
    }
    if (several_ && need_gate) d.gate = sum_gates(d.gate, document_of_);
    return d;
  }

 private:
  ops::RoutedAttentionInput input(const Begun& begun, const Tensor& gates,
                                  const Describe& describe) const {
    ops::RoutedAttentionInput in;
    in.q = begun.q.rows;
    in.k = begun.k;
    in.v = begun.v;
    if (sequences_.share_prompts()) {
      in.k = ops::gather_rows(begun.k, keys_.row_of);
      in.v = ops::gather_rows(begun.v, keys_.row_of);
    }
    in.gate = gates;
    in.varlen = varlen();
    describe(in);
    return in;
  }

  WholeSequences sequences_;
  bool several_;          // sequences to a document
  RowIndex keys_;         // where there are shared prompts
  RowIndex document_of_;  // where there are several sequences to a document
};

}  // namespace

std::unique_ptr<AttentionExchange> local_attention(const data::PackedBatch& batch, Device& device) {
  return std::make_unique<LocalAttention>(batch, device);
}

}  // namespace elastron::model

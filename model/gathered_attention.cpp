#include <algorithm>
#include <utility>

#include "core/trace.h"
#include "model/exchange_rows.h"

namespace elastron::model {

namespace {

constexpr int64_t kMostGroups = 4;

class GatheredAttention final : public AttentionExchange {
 public:
  GatheredAttention(const data::PackedBatch& batch, const data::ContextPlan& plan,
                    parallel::Communicator& context, Device& device)
      : context_(context) {
    RowMap keys(plan.rows * plan.ranks()), document_map(batch.documents());
    const auto runs = runs_of(plan, batch.sequences());
    const auto whole = [&](int64_t s) { return int32_t(batch.offset(s) + batch.length(s)); };
    if (batch.sequences() > 0) first_whole_length_ = whole(0);
    for (const data::ContextPiece& piece : plan.pieces[size_t(context.rank())]) {
      const auto s = size_t(piece.sequence);
      const auto append = [&](size_t sequence, int32_t end) {
        for (const RankRun& run : runs[sequence]) {
          if (run.begin < end) keys.append(run.row, run.end - run.begin);
        }
      };
      // Pieces end where one of the runs does.
      if (!batch.prefix_of.empty() && batch.prefix_of[s] >= 0) {
        const auto prefix = size_t(batch.prefix_of[s]);
        append(prefix, int32_t(batch.length(int64_t(prefix))));
      }
      append(s, piece.end);
      cu_keys_.push_back(int32_t(keys.count()));
      cu_seqlens_.push_back(cu_seqlens_.back() + piece.end - piece.begin);
      whole_lengths_.push_back(whole(piece.sequence));
      documents_.push_back(int32_t(batch.document(piece.sequence)));
      document_map.append(documents_.back(), 1);
    }
    auto indices = on_device({keys, document_map}, device);
    keys_ = std::move(indices[0]);
    document_of_ = std::move(indices[1]);
  }

  ops::Varlen varlen() const override {
    return {cu_seqlens_, cu_keys_, whole_lengths_, first_whole_length_};
  }
  const std::vector<int32_t>& documents() const override { return documents_; }
  int64_t first_kv_head(int64_t) const override { return 0; }

  Begun begin(const Tensor& k, const Tensor& v) const override {
    const TraceRange range(kOtherRanks);
    const int64_t groups = groups_of(k), rows = k.size(0);
    // A group behind the other, each as it travels.
    Begun begun;
    begun.own =
        Tensor::empty({groups * rows, 2, k.size(1) / groups, k.size(2)}, k.dtype(), k.device());
    std::vector<Tensor> from, to;
    for (int64_t g = 0; g < groups; ++g) {
      const Tensor own = begun.own.slice(0, g * rows, (g + 1) * rows);
      from.insert(from.end(), {heads_part(k, g, groups), heads_part(v, g, groups)});
      to.insert(to.end(), {keys_of(own), values_of(own)});
    }
    ops::gather_rows(from, {}, to);
    gather(0, groups, begun);
    return begun;
  }
  Attended forward(Begun& begun, const Tensor& gate, const Describe& describe,
                   ops::Branches branches, bool again) const override {
    const int64_t groups = groups_of(gate);
    Attended attended;
    attended.gates = gates_of_groups(gate, groups);
    std::vector<Tensor> visited;
    for (int64_t g = 0; g < groups; ++g) {
      auto out = ops::routed_attention_forward(
          input(g, groups, begun, attended.gates, describe, again), branches);
      visited.push_back(std::exchange(out.visited, {}));
      attended.groups.push_back(std::move(out));
    }
    if (!again) begun = {};
    attended.visited = side_by_side(std::move(visited));
    return attended;
  }
  Tensor own_rows(const Attended& attended) const override {
    std::vector<Tensor> selected;
    for (const auto& group : attended.groups) selected.push_back(group.selected);
    return side_by_side(std::move(selected));
  }
  ops::RoutedAttentionGradient backward(Tensor d_out, Begun begun, const Tensor& gate,
                                        const Describe& describe, Attended attended, bool need_qkv,
                                        bool need_gate) const override {
    const int64_t groups = groups_of(gate);
    std::vector<Tensor> d_gates, d_queries, d_keys;
    Rows sums;  // of the group before, on their way
    for (int64_t g = 0; g < groups; ++g) {
      auto of_group = [&] {
        const auto in = input(g, groups, begun, attended.gates, describe, /*again=*/false);
        const auto out = std::exchange(attended.groups[size_t(g)], {});
        return ops::routed_attention_backward(heads_part(d_out, g, groups), in, out, need_qkv,
                                              need_gate);
      }();
      d_gates.push_back(std::move(of_group.gate));
      if (!need_qkv) continue;
      d_queries.push_back(std::move(of_group.q));
      if (g > 0) d_keys.push_back(arrived(sums));
      sums = to_owners(std::move(of_group.k), std::move(of_group.v));
    }
    begun = {};
    attended = {};
    d_out = {};
    ops::RoutedAttentionGradient d;
    if (need_gate) {
      d.gate = Tensor::empty(gate.shape(), d_gates.front().dtype(), gate.device());
      ops::sum_rows(d_gates, document_of_.copies, heads_parts(d.gate, groups));
    }
    if (need_qkv) {
      d.q = side_by_side(std::move(d_queries));
      d_keys.push_back(arrived(sums));
      put_heads(std::move(d_keys), d);
    }
    return d;
  }

 private:
  // Of kv heads in dim 1.
  int64_t groups_of(const Tensor& t) const { return kv_head_groups(t.size(1), context_.size()); }

  // [D, K] -> [groups * S, K / groups]
  Tensor gates_of_groups(const Tensor& gate, int64_t groups) const {
    const int64_t sequences = document_of_.count;
    Tensor gates =
        Tensor::empty({groups * sequences, gate.size(1) / groups}, gate.dtype(), gate.device());
    std::vector<Tensor> to;
    for (int64_t g = 0; g < groups; ++g) {
      to.push_back(gates.slice(0, g * sequences, (g + 1) * sequences));
    }
    ops::gather_rows(heads_parts(gate, groups), document_of_.row_of, to);
    return gates;
  }
  // The groups' own rows of keys' and values' gradients, each in its heads' place.
  void put_heads(std::vector<Tensor> of_groups, ops::RoutedAttentionGradient& d) const {
    const auto groups = int64_t(of_groups.size());
    const Tensor& like = of_groups.front();
    const Shape shape{like.size(0), groups * like.size(2), like.size(3)};
    d.k = Tensor::empty(shape, like.dtype(), like.device());
    d.v = Tensor::empty(shape, like.dtype(), like.device());
    std::vector<Tensor> from, to;
    for (int64_t g = 0; g < groups; ++g) {
      const Tensor& own = of_groups[size_t(g)];
      from.insert(from.end(), {keys_of(own), values_of(own)});
      to.insert(to.end(), {heads_part(d.k, g, groups), heads_part(d.v, g, groups)});
    }
    ops::gather_rows(from, {}, to);
  }

  // Sends a group's keys and values on their way.
  void gather(int64_t group, int64_t groups, Begun& begun) const {
    const TraceRange range(kOtherRanks);
    const int64_t rows = begun.own.size(0) / groups;
    const Tensor own = begun.own.slice(0, group * rows, (group + 1) * rows);
    Tensor all = with_rows(own, rows * context_.size());
    auto pending = std::make_unique<parallel::Pending>(context_.all_gather(own, all));
    begun.keys = {std::move(all), std::move(pending)};
  }
  // What attention on a group reads. When it returns, the next one's keys are on their way, behind
  // the last group those of the first if they are read `again`.
  ops::RoutedAttentionInput input(int64_t group, int64_t groups, Begun& begun, const Tensor& gates,
                                  const Describe& describe, bool again) const {
    ops::RoutedAttentionInput in;
    in.q = heads_part(begun.q.rows, group, groups);
    {
      const TraceRange range(kOtherRanks);
      auto [k, v] = in_order(arrived(begun.keys), keys_);
      in.k = std::move(k);
      in.v = std::move(v);
    }
    if (again || group + 1 < groups) gather((group + 1) % groups, groups, begun);
    const int64_t sequences = document_of_.count;
    in.gate = gates.slice(0, group * sequences, (group + 1) * sequences);
    in.varlen = varlen();
    describe(in);
    return in;
  }
  // A group's gradients of the keys that were read, on their way to whom they belong.
  Rows to_owners(Tensor dk, Tensor dv) const {
    const Tensor parts = summed(std::move(dk), std::move(dv), keys_);
    Tensor own = with_rows(parts, parts.size(0) / context_.size());
    auto pending = std::make_unique<parallel::Pending>(context_.reduce_scatter(parts, own));
    return {std::move(own), std::move(pending)};
  }

  parallel::Communicator& context_;
  std::vector<int32_t> cu_seqlens_ = {0}, cu_keys_ = {0}, whole_lengths_, documents_;
  int64_t first_whole_length_ = -1;
  RowIndex keys_;         // of the own pieces, in what was gathered
  RowIndex document_of_;  // of the own pieces
};

}  // namespace

int64_t kv_head_groups(int64_t kv_heads, int context_ranks) {
  if (context_ranks == 1) return 1;
  int64_t groups = std::min(kMostGroups, kv_heads);
  while (kv_heads % groups != 0) --groups;
  return groups;
}

std::unique_ptr<AttentionExchange> gathered_attention(const data::PackedBatch& batch,
                                                      const data::ContextPlan& plan,
                                                      parallel::Communicator& context,
                                                      Device& device) {
  return std::make_unique<GatheredAttention>(batch, plan, context, device);
}

}  // namespace elastron::model

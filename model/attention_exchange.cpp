#include "model/attention_exchange.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "core/trace.h"
#include "model/row_copies.h"
#include "ops/elementwise.h"

namespace elastron::model {

namespace {

constexpr const char* kOtherRanks = "rows of other ranks";

// Gates of documents as gates of their sequences, and the sums over a document's sequences.
Tensor gates_of(const Tensor& documents, const std::vector<int32_t>& document_of) {
  Tensor out = with_rows(documents, int64_t(document_of.size()));
  for (size_t s = 0; s < document_of.size(); ++s) {
    const int64_t d = document_of[s], at = int64_t(s);
    out.slice(0, at, at + 1).copy_from(documents.slice(0, d, d + 1));
  }
  return out;
}
Tensor sum_gates(const Tensor& sequences, const std::vector<int32_t>& document_of,
                 int64_t documents) {
  Tensor out = with_rows(sequences, documents);
  out.zero();
  for (size_t s = 0; s < document_of.size(); ++s) {
    const int64_t d = document_of[s], at = int64_t(s);
    Tensor to = out.slice(0, d, d + 1);
    ops::add_into(to, sequences.slice(0, at, at + 1));
  }
  return out;
}

std::vector<int32_t> documents_of(const data::PackedBatch& batch) {
  if (!batch.document_of.empty()) return batch.document_of;
  std::vector<int32_t> each(size_t(batch.sequences()));
  std::iota(each.begin(), each.end(), 0);
  return each;
}

Tensor arrived(AttentionExchange::Rows& rows) {
  if (rows.pending) std::exchange(rows.pending, nullptr)->wait();
  return std::exchange(rows.rows, {});
}

// In front of each response a copy of its prompt's rows.
class LocalAttention final : public AttentionExchange {
 public:
  explicit LocalAttention(const data::PackedBatch& batch)
      : batch_(batch), document_of_(documents_of(batch)), several_(!batch.document_of.empty()) {
    if (batch.prefix_of.empty()) return;
    copies_.emplace(batch.tokens());
    cu_keys_ = {0};
    for (int64_t s = 0; s < batch.sequences(); ++s) {
      const int64_t offset = batch.offset(s);
      if (offset > 0) {
        copies_->append(batch.cu_seqlens[size_t(batch.prefix_of[size_t(s)])], offset);
      }
      copies_->append(batch.cu_seqlens[size_t(s)], batch.length(s));
      cu_keys_.push_back(int32_t(copies_->copies()));
    }
  }

  ops::Varlen varlen() const override { return {batch_.cu_seqlens, cu_keys_}; }
  const std::vector<int32_t>& documents() const override { return document_of_; }
  int64_t first_kv_head(int64_t) const override { return 0; }

  Begun begin(const Tensor& k, const Tensor& v) const override {
    return {.q = {}, .k = {k, {}}, .v = {v, {}}, .own_k = {}, .own_v = {}};
  }
  Attended forward(Begun& begun, const Tensor& gate, const Describe& describe,
                   ops::Branches branches, bool again) const override {
    const auto in = input(begun, gate, describe);
    if (!again) begun = {};
    auto out = ops::routed_attention_forward(in, branches);
    Attended attended{.selected = out.selected, .groups = {}, .visited = out.visited};
    attended.groups.push_back(std::move(out));
    return attended;
  }
  Tensor own_rows(const Tensor& selected) const override { return selected; }
  ops::RoutedAttentionGradient backward(Tensor d_out, Begun begun, const Tensor& gate,
                                        const Describe& describe, Attended attended, bool need_qkv,
                                        bool need_gate) const override {
    auto in = input(begun, gate, describe);
    begun = {};
    auto d =
        ops::routed_attention_backward(d_out, in, attended.groups.front(), need_qkv, need_gate);
    d_out = {};
    in = {};
    attended = {};
    if (copies_ && need_qkv) {
      d.k = copies_->sum(d.k);
      d.v = copies_->sum(d.v);
    }
    if (several_ && need_gate) d.gate = sum_gates(d.gate, document_of_, batch_.documents());
    return d;
  }

 private:
  ops::RoutedAttentionInput input(const Begun& begun, const Tensor& gate,
                                  const Describe& describe) const {
    ops::RoutedAttentionInput in;
    in.q = begun.q.rows;
    in.k = copies_ ? copies_->expand(begun.k.rows) : begun.k.rows;
    in.v = copies_ ? copies_->expand(begun.v.rows) : begun.v.rows;
    in.gate = several_ ? gates_of(gate, document_of_) : gate;
    in.varlen = varlen();
    describe(in);
    return in;
  }

  const data::PackedBatch& batch_;
  std::vector<int32_t> document_of_, cu_keys_;
  std::optional<RowCopies> copies_;  // where there are shared prompts
  bool several_;                     // sequences to a document
};

// Where in the ranks' rows, one rank behind the other, the tokens of each sequence stand.
struct Run {
  int32_t begin, end;
  int64_t row;
};
std::vector<std::vector<Run>> runs_of(const data::ContextPlan& plan, int64_t sequences) {
  std::vector<std::vector<Run>> runs(static_cast<size_t>(sequences));
  for (size_t r = 0; r < plan.pieces.size(); ++r) {
    int64_t row = int64_t(r) * plan.rows;
    for (const data::ContextPiece& piece : plan.pieces[r]) {
      runs[size_t(piece.sequence)].push_back({piece.begin, piece.end, row});
      row += piece.end - piece.begin;
    }
  }
  for (auto& of_sequence : runs) std::ranges::sort(of_sequence, std::less{}, &Run::begin);
  return runs;
}

class GatheredAttention final : public AttentionExchange {
 public:
  GatheredAttention(const data::PackedBatch& batch, const data::ContextPlan& plan,
                    parallel::Communicator& context)
      : context_(context), documents_(batch.documents()), copies_(plan.rows * plan.ranks()) {
    const auto runs = runs_of(plan, batch.sequences());
    const auto whole = [&](int64_t s) { return int32_t(batch.offset(s) + batch.length(s)); };
    if (batch.sequences() > 0) first_whole_length_ = whole(0);
    for (const data::ContextPiece& piece : plan.pieces[size_t(context.rank())]) {
      const auto s = size_t(piece.sequence);
      const auto append = [&](size_t sequence, int32_t end) {
        for (const Run& run : runs[sequence]) {
          if (run.begin < end) copies_.append(run.row, run.end - run.begin);
        }
      };
      // Pieces end where one of the runs does.
      if (!batch.prefix_of.empty() && batch.prefix_of[s] >= 0) {
        const auto prefix = size_t(batch.prefix_of[s]);
        append(prefix, int32_t(batch.length(int64_t(prefix))));
      }
      append(s, piece.end);
      cu_keys_.push_back(int32_t(copies_.copies()));
      cu_seqlens_.push_back(cu_seqlens_.back() + piece.end - piece.begin);
      whole_lengths_.push_back(whole(piece.sequence));
      document_of_.push_back(int32_t(batch.document(piece.sequence)));
    }
  }

  ops::Varlen varlen() const override {
    return {cu_seqlens_, cu_keys_, whole_lengths_, first_whole_length_};
  }
  const std::vector<int32_t>& documents() const override { return document_of_; }
  int64_t first_kv_head(int64_t) const override { return 0; }

  Begun begin(const Tensor& k, const Tensor& v) const override {
    Begun begun{.q = {}, .k = {}, .v = {}, .own_k = k, .own_v = v};
    gather(0, begun);
    return begun;
  }
  Attended forward(Begun& begun, const Tensor& gate, const Describe& describe,
                   ops::Branches branches, bool again) const override {
    const Tensor gates = gates_of(gate, document_of_);
    const int64_t groups = groups_of(gate);
    Attended attended;
    for (int64_t g = 0; g < groups; ++g) {
      auto out = ops::routed_attention_forward(input(g, begun, gates, describe, again), branches);
      put(std::exchange(out.visited, {}), g, groups, attended.visited);
      if (groups == 1) {
        attended.selected = out.selected;
      } else {
        put(std::exchange(out.selected, {}), g, groups, attended.selected);
      }
      attended.groups.push_back(std::move(out));
    }
    if (!again) begun = {};
    return attended;
  }
  Tensor own_rows(const Tensor& selected) const override { return selected; }
  ops::RoutedAttentionGradient backward(Tensor d_out, Begun begun, const Tensor& gate,
                                        const Describe& describe, Attended attended, bool need_qkv,
                                        bool need_gate) const override {
    const Tensor gates = gates_of(gate, document_of_);
    const int64_t groups = groups_of(gate);
    ops::RoutedAttentionGradient d;
    Rows dk, dv;  // of the group before, on their way
    for (int64_t g = 0; g < groups; ++g) {
      auto of_group = [&] {
        const auto in = input(g, begun, gates, describe, /*again=*/false);
        auto out = std::exchange(attended.groups[size_t(g)], {});
        if (groups > 1) out.selected = part(attended.selected, g, groups).clone();
        return ops::routed_attention_backward(part(d_out, g, groups), in, out, need_qkv, need_gate);
      }();
      if (need_gate) put(sum_gates(of_group.gate, document_of_, documents_), g, groups, d.gate);
      if (!need_qkv) continue;
      put(std::exchange(of_group.q, {}), g, groups, d.q);
      if (g > 0) {
        put(arrived(dk), g - 1, groups, d.k);
        put(arrived(dv), g - 1, groups, d.v);
      }
      dk = summed(std::move(of_group.k));
      dv = summed(std::move(of_group.v));
    }
    begun = {};
    attended = {};
    d_out = {};
    if (need_qkv) {
      put(arrived(dk), groups - 1, groups, d.k);
      put(arrived(dv), groups - 1, groups, d.v);
    }
    return d;
  }

 private:
  int64_t groups_of(const Tensor& gate) const {
    return kv_head_groups(gate.size(1), context_.size());
  }
  // The heads of a group, in dim 1, and a group's back in their place.
  static Tensor part(const Tensor& whole, int64_t group, int64_t groups) {
    const int64_t heads = whole.size(1) / groups;
    return whole.slice(1, group * heads, (group + 1) * heads);
  }
  static void put(Tensor of_group, int64_t group, int64_t groups, Tensor& whole) {
    if (groups == 1) {
      whole = std::move(of_group);
      return;
    }
    if (!whole.defined()) {
      Shape shape = of_group.shape();
      shape.set(1, groups * shape[1]);
      whole = Tensor::empty(shape, of_group.dtype(), of_group.device());
    }
    part(whole, group, groups).copy_from(of_group);
  }

  // Sends a group's keys and values on their way.
  void gather(int64_t group, Begun& begun) const {
    const TraceRange range(kOtherRanks);
    const int64_t groups = kv_head_groups(begun.own_k.size(1), context_.size());
    const auto start = [&](const Tensor& whole) -> Rows {
      const Tensor own = part(whole, group, groups);
      const int64_t rows = own.size(0), first = rows * context_.rank();
      Shape shape = own.shape();
      shape.set(0, rows * context_.size());
      Tensor all = Tensor::empty(shape, own.dtype(), own.device());
      Tensor here = all.slice(0, first, first + rows);
      here.copy_from(own);
      auto pending = std::make_unique<parallel::Pending>(context_.all_gather(here, all));
      return {std::move(all), std::move(pending)};
    };
    begun.k = start(begun.own_k);
    begun.v = start(begun.own_v);
  }
  Tensor in_order(Rows& rows) const {
    const TraceRange range(kOtherRanks);
    return copies_.expand(arrived(rows));
  }
  // What attention on a group reads. When it returns, the next one's keys are on their way, behind
  // the last group those of the first if they are read `again`.
  ops::RoutedAttentionInput input(int64_t group, Begun& begun, const Tensor& gates,
                                  const Describe& describe, bool again) const {
    const int64_t groups = groups_of(gates);
    ops::RoutedAttentionInput in;
    in.q = part(begun.q.rows, group, groups);
    in.k = in_order(begun.k);
    in.v = in_order(begun.v);
    if (again || group + 1 < groups) gather((group + 1) % groups, begun);
    in.gate = part(gates, group, groups).clone();
    in.varlen = varlen();
    describe(in);
    return in;
  }
  // A group's gradients of the keys that were read, on their way to whom they belong.
  Rows summed(Tensor keys) const {
    const Tensor parts = copies_.sum(keys);
    keys = {};
    Tensor own = with_rows(parts, parts.size(0) / context_.size());
    auto pending = std::make_unique<parallel::Pending>(context_.reduce_scatter(parts, own));
    return {std::move(own), std::move(pending)};
  }

  parallel::Communicator& context_;
  int64_t documents_;
  std::vector<int32_t> cu_seqlens_ = {0}, cu_keys_ = {0}, whole_lengths_, document_of_;
  int64_t first_whole_length_ = -1;
  RowCopies copies_;  // keys of the own pieces, of what was gathered
};

class ExchangedHeads final : public AttentionExchange {
 public:
  ExchangedHeads(const data::PackedBatch& batch, const data::ContextPlan& plan,
                 parallel::Communicator& context)
      : context_(context),
        whole_(batch),
        documents_(batch.documents()),
        order_(plan.rows * plan.ranks()) {
    for (const auto& of_sequence : runs_of(plan, batch.sequences())) {
      for (const Run& run : of_sequence) order_.append(run.row, run.end - run.begin);
    }
  }

  ops::Varlen varlen() const override { return whole_.varlen(); }
  const std::vector<int32_t>& documents() const override { return whole_.documents(); }
  int64_t first_kv_head(int64_t kv_heads) const override {
    return kv_heads / context_.size() * context_.rank();
  }
  Begun begin(const Tensor& k, const Tensor& v) const override {
    return {.q = {}, .k = exchanged(k), .v = exchanged(v), .own_k = {}, .own_v = {}};
  }
  void begin_queries(const Tensor& q, Begun& begun) const override { begun.q = exchanged(q); }
  Attended forward(Begun& begun, const Tensor& gate, const Describe& describe,
                   ops::Branches branches, bool again) const override {
    in_order(begun);
    return whole_.forward(begun, own_heads(gate), describe, branches, again);
  }
  Tensor own_rows(const Tensor& selected) const override {
    const int64_t ranks = context_.size();
    const Tensor parts = order_.sum(selected);  // the order the other way round
    Tensor all = with_rows(parts, parts.size(0));
    context_.all_to_all(parts, all).wait();
    const int64_t rows = parts.size(0) / ranks, heads = parts.size(1);
    Tensor own = Tensor::empty({rows, heads * ranks, parts.size(2)}, parts.dtype(), parts.device());
    for (int64_t r = 0; r < ranks; ++r) {
      own.slice(1, r * heads, (r + 1) * heads).copy_from(all.slice(0, r * rows, (r + 1) * rows));
    }
    return own;
  }
  ops::RoutedAttentionGradient backward(Tensor d_out, Begun begun, const Tensor& gate,
                                        const Describe& describe, Attended attended, bool need_qkv,
                                        bool need_gate) const override {
    in_order(begun);
    Rows d_rows = exchanged(d_out);
    d_out = in_order(d_rows);
    auto d = whole_.backward(std::move(d_out), std::move(begun), own_heads(gate), describe,
                             std::move(attended), need_qkv, need_gate);
    if (need_qkv) {
      for (Tensor* t : {&d.q, &d.k, &d.v}) *t = own_rows(*t);
    }
    if (need_gate) {
      Tensor whole = Tensor::zeros({documents_, gate.size(1)}, d.gate.dtype(), d.gate.device());
      own_part(whole).copy_from(d.gate);
      d.gate = whole;
    }
    return d;
  }

 private:
  // This rank's heads of [D, K].
  Tensor own_part(const Tensor& gates) const {
    const int64_t first = first_kv_head(gates.size(1)), heads = gates.size(1) / context_.size();
    return gates.slice(1, first, first + heads);
  }
  Tensor own_heads(const Tensor& gate) const { return own_part(gate).clone(); }

  // Part r of the heads goes to rank r, and comes from it.
  Rows exchanged(const Tensor& own) const {
    const TraceRange range(kOtherRanks);
    const int64_t ranks = context_.size(), rows = own.size(0), heads = own.size(1) / ranks;
    Tensor parts = Tensor::empty({ranks * rows, heads, own.size(2)}, own.dtype(), own.device());
    for (int64_t r = 0; r < ranks; ++r) {
      parts.slice(0, r * rows, (r + 1) * rows).copy_from(own.slice(1, r * heads, (r + 1) * heads));
    }
    Tensor all = with_rows(parts, ranks * rows);
    auto pending = std::make_unique<parallel::Pending>(context_.all_to_all(parts, all));
    return {std::move(all), std::move(pending)};
  }
  Tensor in_order(Rows& rows) const {
    const TraceRange range(kOtherRanks);
    return order_.expand(arrived(rows));
  }
  // Of what was begun all that has not been put in order before.
  void in_order(Begun& begun) const {
    for (Rows* rows : {&begun.q, &begun.k, &begun.v}) {
      if (rows->pending) rows->rows = in_order(*rows);
    }
  }

  parallel::Communicator& context_;
  LocalAttention whole_;
  int64_t documents_;
  RowCopies order_;  // all rows in the batch's order, of the ranks' one behind the other
};

constexpr int64_t kMostGroups = 4;

}  // namespace

int64_t kv_head_groups(int64_t kv_heads, int context_ranks) {
  if (context_ranks == 1) return 1;
  int64_t groups = std::min(kMostGroups, kv_heads);
  while (kv_heads % groups != 0) --groups;
  return groups;
}

std::unique_ptr<AttentionExchange> local_attention(const data::PackedBatch& batch) {
  return std::make_unique<LocalAttention>(batch);
}

std::unique_ptr<AttentionExchange> gathered_attention(const data::PackedBatch& batch,
                                                      const data::ContextPlan& plan,
                                                      parallel::Communicator& context) {
  return std::make_unique<GatheredAttention>(batch, plan, context);
}

std::unique_ptr<AttentionExchange> exchanged_heads(const data::PackedBatch& batch,
                                                   const data::ContextPlan& plan,
                                                   parallel::Communicator& context) {
  return std::make_unique<ExchangedHeads>(batch, plan, context);
}

}  // namespace elastron::model

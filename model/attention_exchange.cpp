#include "model/attention_exchange.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "model/row_copies.h"
#include "ops/elementwise.h"

namespace elastron::model {

namespace {

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
  if (rows.pending) rows.pending->wait();
  return std::move(rows.rows);
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

  Rows begin(const Tensor& own) const override { return {own, {}}; }
  void attention(Rows q, Rows k, Rows v, const Tensor& gate,
                 ops::RoutedAttentionInput& in) const override {
    in.q = arrived(q);
    in.k = keys(k);
    in.v = keys(v);
    in.gate = several_ ? gates_of(gate, document_of_) : gate;
    in.varlen = varlen();
  }
  Tensor own_rows(const Tensor& out) const override { return out; }
  Tensor attention_rows(const Tensor& own) const override { return own; }
  void backward(ops::RoutedAttentionGradient& d, int64_t) const override {
    if (copies_ && d.k.defined()) {
      d.k = copies_->sum(d.k);
      d.v = copies_->sum(d.v);
    }
    if (several_ && d.gate.defined()) {
      d.gate = sum_gates(d.gate, document_of_, batch_.documents());
    }
  }

 private:
  Tensor keys(Rows& rows) const {
    const Tensor own = arrived(rows);
    return copies_ ? copies_->expand(own) : own;
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

  Rows begin(const Tensor& own) const override {
    Tensor all = with_rows(own, own.size(0) * context_.size());
    auto pending = std::make_unique<parallel::Pending>(context_.all_gather(own, all));
    return {std::move(all), std::move(pending)};
  }
  void attention(Rows q, Rows k, Rows v, const Tensor& gate,
                 ops::RoutedAttentionInput& in) const override {
    in.q = arrived(q);
    in.k = copies_.expand(arrived(k));
    in.v = copies_.expand(arrived(v));
    in.gate = gates_of(gate, document_of_);
    in.varlen = varlen();
  }
  Tensor own_rows(const Tensor& out) const override { return out; }
  Tensor attention_rows(const Tensor& own) const override { return own; }
  void backward(ops::RoutedAttentionGradient& d, int64_t) const override {
    if (d.k.defined()) {
      const auto sum = [&](Tensor& keys) {
        const Tensor parts = copies_.sum(keys);
        keys = {};
        Tensor own = with_rows(parts, parts.size(0) / context_.size());
        context_.reduce_scatter(parts, own).wait();
        keys = own;
      };
      sum(d.k);
      sum(d.v);
    }
    if (d.gate.defined()) d.gate = sum_gates(d.gate, document_of_, documents_);
  }

 private:
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
  Rows begin_queries(const Tensor& own) const override { return begin(own); }

  // Part r of the heads goes to rank r, and comes from it.
  Rows begin(const Tensor& own) const override {
    const int64_t ranks = context_.size(), rows = own.size(0), heads = own.size(1) / ranks;
    Tensor parts = Tensor::empty({ranks * rows, heads, own.size(2)}, own.dtype(), own.device());
    for (int64_t r = 0; r < ranks; ++r) {
      parts.slice(0, r * rows, (r + 1) * rows).copy_from(own.slice(1, r * heads, (r + 1) * heads));
    }
    Tensor all = with_rows(parts, ranks * rows);
    auto pending = std::make_unique<parallel::Pending>(context_.all_to_all(parts, all));
    return {std::move(all), std::move(pending)};
  }
  void attention(Rows q, Rows k, Rows v, const Tensor& gate,
                 ops::RoutedAttentionInput& in) const override {
    const int64_t first = first_kv_head(gate.size(1)), heads = gate.size(1) / context_.size();
    whole_.attention({order_.expand(arrived(q)), {}}, {order_.expand(arrived(k)), {}},
                     {order_.expand(arrived(v)), {}}, gate.slice(1, first, first + heads).clone(),
                     in);
  }
  Tensor own_rows(const Tensor& out) const override {
    const int64_t ranks = context_.size();
    const Tensor parts = order_.sum(out);  // the order the other way round
    Tensor all = with_rows(parts, parts.size(0));
    context_.all_to_all(parts, all).wait();
    const int64_t rows = parts.size(0) / ranks, heads = parts.size(1);
    Tensor own = Tensor::empty({rows, heads * ranks, parts.size(2)}, parts.dtype(), parts.device());
    for (int64_t r = 0; r < ranks; ++r) {
      own.slice(1, r * heads, (r + 1) * heads).copy_from(all.slice(0, r * rows, (r + 1) * rows));
    }
    return own;
  }
  Tensor attention_rows(const Tensor& own) const override {
    Rows rows = begin(own);
    return order_.expand(arrived(rows));
  }
  void backward(ops::RoutedAttentionGradient& d, int64_t kv_heads) const override {
    whole_.backward(d, kv_heads);
    if (d.k.defined()) {
      for (Tensor* t : {&d.q, &d.k, &d.v}) *t = own_rows(*t);
    }
    if (d.gate.defined()) {
      const int64_t first = first_kv_head(kv_heads), heads = kv_heads / context_.size();
      Tensor gate = Tensor::zeros({documents_, kv_heads}, d.gate.dtype(), d.gate.device());
      gate.slice(1, first, first + heads).copy_from(d.gate);
      d.gate = gate;
    }
  }

 private:
  parallel::Communicator& context_;
  LocalAttention whole_;
  int64_t documents_;
  RowCopies order_;  // all rows in the batch's order, of the ranks' one behind the other
};

}  // namespace

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

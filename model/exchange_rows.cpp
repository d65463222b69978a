#include "model/exchange_rows.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace elastron::model {

Tensor with_rows(const Tensor& t, int64_t rows) {
  Shape shape = t.shape();
  shape.set(0, rows);
  return Tensor::empty(shape, t.dtype(), t.device());
}

Tensor heads_part(const Tensor& whole, int64_t i, int64_t n) {
  const int64_t heads = whole.size(1) / n;
  return whole.slice(1, i * heads, (i + 1) * heads);
}

std::vector<Tensor> heads_parts(const Tensor& whole, int64_t n) {
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < n; ++i) parts.push_back(heads_part(whole, i, n));
  return parts;
}

Tensor side_by_side(std::vector<Tensor> parts) {
  if (parts.size() == 1) return std::move(parts.front());
  const auto n = int64_t(parts.size());
  Shape shape = parts.front().shape();
  shape.set(1, n * shape[1]);
  Tensor whole = Tensor::empty(shape, parts.front().dtype(), parts.front().device());
  ops::gather_rows(parts, {}, heads_parts(whole, n));
  return whole;
}

Tensor arrived(AttentionExchange::Rows& rows) {
  if (rows.pending) std::exchange(rows.pending, nullptr)->wait();
  return std::exchange(rows.rows, {});
}

Tensor keys_and_values(int64_t rows, const Tensor& like) {
  return Tensor::empty({rows, 2, like.size(1), like.size(2)}, like.dtype(), like.device());
}
Tensor keys_of(const Tensor& both) { return both.slice(1, 0, 1); }
Tensor values_of(const Tensor& both) { return both.slice(1, 1, 2); }

KeysAndValues in_order(const Tensor& both, const RowIndex& index) {
  const Shape shape{index.count, both.size(2), both.size(3)};
  KeysAndValues rows{.k = Tensor::empty(shape, both.dtype(), both.device()),
                     .v = Tensor::empty(shape, both.dtype(), both.device())};
  ops::gather_rows({keys_of(both), values_of(both)}, index.row_of, {rows.k, rows.v});
  return rows;
}

Tensor summed(Tensor dk, Tensor dv, const RowIndex& index) {
  Tensor both = keys_and_values(index.rows, dk);
  ops::sum_rows({std::move(dk), std::move(dv)}, index.copies, {keys_of(both), values_of(both)});
  return both;
}

WholeSequences::WholeSequences(const data::PackedBatch& batch)
    : batch_(batch), document_of_(batch.document_of) {
  if (document_of_.empty()) {
    document_of_.resize(size_t(batch.sequences()));
    std::iota(document_of_.begin(), document_of_.end(), 0);
  }
  if (batch.prefix_of.empty()) return;
  cu_keys_ = {0};
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    cu_keys_.push_back(cu_keys_.back() + int32_t(batch.offset(s) + batch.length(s)));
  }
}

RowMap WholeSequences::keys(const RowMap& tokens) const {
  RowMap keys(tokens.rows());
  const auto append = [&](int64_t sequence) {
    const int64_t first = batch_.cu_seqlens[size_t(sequence)];
    for (int64_t t = 0; t < batch_.length(sequence); ++t) keys.append(tokens.row(first + t), 1);
  };
  for (int64_t s = 0; s < batch_.sequences(); ++s) {
    if (batch_.offset(s) > 0) append(batch_.prefix_of[size_t(s)]);
    append(s);
  }
  return keys;
}

RowMap WholeSequences::document_map() const {
  RowMap map(batch_.documents());
  for (const int32_t document : document_of_) map.append(document, 1);
  return map;
}

Tensor gates_of(const Tensor& documents, const RowIndex& document_of) {
  Tensor gates = with_rows(documents, document_of.count);
  ops::gather_rows({documents}, document_of.row_of, {gates});
  return gates;
}

Tensor sum_gates(const Tensor& sequences, const RowIndex& document_of) {
  Tensor sums = with_rows(sequences, document_of.rows);
  ops::sum_rows({sequences}, document_of.copies, {sums});
  return sums;
}

std::vector<std::vector<RankRun>> runs_of(const data::ContextPlan& plan, int64_t sequences) {
  std::vector<std::vector<RankRun>> runs(static_cast<size_t>(sequences));
  for (size_t r = 0; r < plan.pieces.size(); ++r) {
    int64_t row = int64_t(r) * plan.rows;
    for (const data::ContextPiece& piece : plan.pieces[r]) {
      runs[size_t(piece.sequence)].push_back({piece.begin, piece.end, row});
      row += piece.end - piece.begin;
    }
  }
  for (auto& of_sequence : runs) std::ranges::sort(of_sequence, std::less{}, &RankRun::begin);
  return runs;
}

}  // namespace elastron::model

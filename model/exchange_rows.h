// What the ways to exchange rows (model/attention_exchange.h) have in common. Each function issues
// one kernel or none, however many runs of rows, heads or ranks there are.
#pragma once
#include <vector>

#include "model/attention_exchange.h"
#include "model/row_index.h"

namespace elastron::model {

// The range of what is done for rows that other ranks have.
inline constexpr const char* kOtherRanks = "rows of other ranks";

// An uninitialised tensor like `t` with so many rows.
Tensor with_rows(const Tensor& t, int64_t rows);

// Part i of n of the heads in dim 1; all parts.
Tensor heads_part(const Tensor& whole, int64_t i, int64_t n);
std::vector<Tensor> heads_parts(const Tensor& whole, int64_t n);
// The other way round: parts [T, H, ...] side by side, [T, n H, ...].
Tensor side_by_side(std::vector<Tensor> parts);

// Waits for rows, and takes them.
Tensor arrived(AttentionExchange::Rows& rows);

// Keys and values travel together: [R, 2, K, D].
Tensor keys_and_values(int64_t rows, const Tensor& like);
Tensor keys_of(const Tensor& both);    // [R, 1, K, D], a view
Tensor values_of(const Tensor& both);  // the same
// Rows of both by the index, as tensors of their own [count, K, D].
struct KeysAndValues {
  Tensor k, v;
};
KeysAndValues in_order(const Tensor& both, const RowIndex& index);
// The adjoint: sums over the copies of each row.
Tensor summed(Tensor dk, Tensor dv, const RowIndex& index);

// The sequences of a whole batch as attention sees them, where all its rows are: the prompts that
// several responses attend to stand in front of each. The batch must outlive it.
class WholeSequences {
 public:
  explicit WholeSequences(const data::PackedBatch& batch);

  ops::Varlen varlen() const { return {batch_.cu_seqlens, cu_keys_}; }
  const std::vector<int32_t>& documents() const { return document_of_; }
  bool share_prompts() const { return !cu_keys_.empty(); }
  // By the row of each token: where its sequence's keys come from.
  RowMap keys(const RowMap& tokens) const;
  // Of which document each sequence is.
  RowMap document_map() const;

 private:
  const data::PackedBatch& batch_;
  std::vector<int32_t> document_of_, cu_keys_;
};

// The gates [D, K] of each sequence's document, [S, K], and the sums over a document's sequences.
Tensor gates_of(const Tensor& documents, const RowIndex& document_of);
Tensor sum_gates(const Tensor& sequences, const RowIndex& document_of);

// Where in the ranks' rows, one rank behind the other, the tokens of each sequence stand, by their
// place in it.
struct RankRun {
  int32_t begin, end;
  int64_t row;
};
std::vector<std::vector<RankRun>> runs_of(const data::ContextPlan& plan, int64_t sequences);

}  // namespace elastron::model

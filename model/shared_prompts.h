// Prompts that are computed once and attended by several responses: how the rows of a batch become
// the keys of its sequences. Equal to computing every response behind a prompt of its own.
#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "data/packed_batch.h"
#include "ops/varlen.h"

namespace elastron::model {

// T rows, N >= T keys, S sequences, D documents of a batch; K kv heads.
class SharedPrompts {
 public:
  explicit SharedPrompts(const data::PackedBatch& batch);

  // Whether anything below changes what it is given.
  bool any() const { return any_; }
  // Bounds of the sequences' keys, for ops::Varlen; empty where keys and rows are the same.
  const std::vector<int32_t>& cu_keys() const { return cu_keys_; }

  // [T, ...] -> [N, ...]: in front of each response a copy of its prompt's rows.
  Tensor keys(const Tensor& rows) const;
  // The way back: [N, ...] -> [T, ...], sums over the copies.
  Tensor sum_keys(const Tensor& keys) const;
  // [D, K] -> [S, K], and the sums over a document's sequences.
  Tensor gates(const Tensor& documents) const;
  Tensor sum_gates(const Tensor& sequences) const;

 private:
  struct Copy {
    int64_t row, key, count;
    bool own;  // the rows' first place among the keys, not a copy in front of a response
  };
  bool any_ = false;
  int64_t rows_ = 0, documents_ = 0;
  std::vector<int32_t> cu_keys_, document_of_;
  std::vector<Copy> copies_;
};

}  // namespace elastron::model

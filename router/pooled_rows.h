// The rows that a router pools, where context-parallel ranks have some of them each. Few: boundary
// pooling reads at most twice its budget of a document (docs/method.md, Pooling).
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "ops/boundary_pool.h"
#include "parallel/communicator.h"

namespace elastron::router {

class PooledRows {
 public:
  // segments: in rows of the whole batch, of which none is in two. own_row: where this rank has a
  // row of the whole batch, or -1; every row is on one rank. The group must outlive this. The
  // tensors below are on `device`.
  PooledRows(std::span<const ops::PoolSegment> segments, const ops::PoolRule& rule,
             const std::function<int64_t(int64_t)>& own_row, parallel::Communicator& context,
             Device& device);

  // The same segments in what collect() gives: pooled as they would be in the whole batch.
  const std::vector<ops::PoolSegment>& segments() const { return segments_; }

  // own [T, K, D] -> the rows that are pooled [P, K, D], on every rank the same. Collective.
  Tensor collect(const Tensor& own) const;
  Tensor zeros_like(const Tensor& own) const;  // [P, K, D]
  // The adjoint, of the sum over the ranks of d_rows: adds own rows' part to d_own. Collective.
  void add(Tensor& d_rows, Tensor& d_own) const;

 private:
  parallel::Communicator& context_;
  std::vector<ops::PoolSegment> segments_;
  int64_t rows_ = 0;
  Tensor own_rows_;  // [P] int32: where this rank has them, or -1
};

}  // namespace elastron::router

#include "router/pooled_rows.h"

#include <algorithm>

#include "ops/rows.h"

namespace elastron::router {

PooledRows::PooledRows(std::span<const ops::PoolSegment> segments, const ops::PoolRule& rule,
                       const std::function<int64_t(int64_t)>& own_row,
                       parallel::Communicator& context, Device& device)
    : context_(context) {
  std::vector<int32_t> own_rows;
  const auto take = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row, ++rows_) own_rows.push_back(int32_t(own_row(row)));
  };
  for (const ops::PoolSegment& s : segments) {
    const int64_t first = rows_, length = std::max<int64_t>(s.end - s.begin, 0);
    if (!rule.boundary || length <= 2 * rule.budget) {
      take(s.begin, s.end);
    } else {  // what is between is not read
      take(s.begin, s.begin + rule.budget);
      take(s.end - rule.budget, s.end);
    }
    segments_.push_back({first, rows_});
  }
  own_rows_ = Tensor::from(own_rows, {rows_}, device);
  std::erase(own_rows, -1);
  std::ranges::sort(own_rows);
  ELASTRON_CHECK(std::ranges::adjacent_find(own_rows) == own_rows.end(),
                 "a row that is pooled for two documents");
}

Tensor PooledRows::zeros_like(const Tensor& own) const {
  Shape shape = own.shape();
  shape.set(0, rows_);
  return Tensor::zeros(shape, own.dtype(), own.device());
}

Tensor PooledRows::collect(const Tensor& own) const {
  Shape shape = own.shape();
  shape.set(0, rows_);
  Tensor rows = Tensor::empty(shape, own.dtype(), own.device());
  ops::gather_rows({own}, own_rows_, {rows});
  // Each row is on one rank, zeros elsewhere: the sum is exact.
  context_.all_reduce(rows, parallel::ReduceOp::sum).wait();
  return rows;
}

void PooledRows::add(Tensor& d_rows, Tensor& d_own) const {
  context_.all_reduce(d_rows, parallel::ReduceOp::sum).wait();
  ops::add_rows(d_rows, own_rows_, d_own);
}

}  // namespace elastron::router

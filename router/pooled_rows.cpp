#include "router/pooled_rows.h"

#include <algorithm>

#include "ops/elementwise.h"

namespace elastron::router {

PooledRows::PooledRows(std::span<const ops::PoolSegment> segments, const ops::PoolRule& rule,
                       const std::function<int64_t(int64_t)>& own_row,
                       parallel::Communicator& context)
    : context_(context) {
  const auto take = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row, ++rows_) {
      const int64_t own = own_row(row);
      if (own < 0) continue;
      if (!copies_.empty() && copies_.back().own + copies_.back().count == own &&
          copies_.back().at + copies_.back().count == rows_) {
        ++copies_.back().count;
      } else {
        copies_.push_back({own, rows_, 1});
      }
    }
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
}

Tensor PooledRows::zeros_like(const Tensor& own) const {
  Shape shape = own.shape();
  shape.set(0, rows_);
  return Tensor::zeros(shape, own.dtype(), own.device());
}

Tensor PooledRows::collect(const Tensor& own) const {
  Tensor rows = zeros_like(own);
  for (const Copy& c : copies_) {
    rows.slice(0, c.at, c.at + c.count).copy_from(own.slice(0, c.own, c.own + c.count));
  }
  // Each row is on one rank: the sum is exact.
  context_.all_reduce(rows, parallel::ReduceOp::sum).wait();
  return rows;
}

void PooledRows::add(Tensor& d_rows, Tensor& d_own) const {
  context_.all_reduce(d_rows, parallel::ReduceOp::sum).wait();
  for (const Copy& c : copies_) {
    Tensor to = d_own.slice(0, c.own, c.own + c.count);
    ops::add_into(to, d_rows.slice(0, c.at, c.at + c.count));
  }
}

}  // namespace elastron::router

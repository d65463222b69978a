// Rows of a tensor put together anew, some of them more than once, and the way back.
#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace elastron::model {

// An uninitialised tensor like `t` with so many rows.
Tensor with_rows(const Tensor& t, int64_t rows);

class RowCopies {
 public:
  explicit RowCopies(int64_t rows) : rows_(rows) {}

  // Rows [row, row + count) come next. What overlaps a range that was given before is the same
  // range.
  void append(int64_t row, int64_t count);
  int64_t copies() const { return copied_; }

  // [rows, ...] -> [copies, ...]
  Tensor expand(const Tensor& rows) const;
  // [copies, ...] -> [rows, ...]: sums over the copies, in the order they were given; zero where
  // there is none.
  Tensor sum(const Tensor& copies) const;

 private:
  struct Copy {
    int64_t row, at, count;
    bool first;  // of its range
  };
  int64_t rows_, copied_ = 0, covered_ = 0;
  std::vector<Copy> copies_;
  std::vector<bool> seen_;
};

}  // namespace elastron::model

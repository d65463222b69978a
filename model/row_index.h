// Rows of a tensor put together anew, some of them more than once, and the way back: as an index
// that is made once for a batch and stays on its device for all layers.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "ops/rows.h"

namespace elastron::model {

// On the host: the rows that come, one behind the other, of `rows` that there are.
class RowMap {
 public:
  explicit RowMap(int64_t rows) : rows_(rows) {}
  // Rows [row, row + count) come next.
  void append(int64_t row, int64_t count);

  int64_t rows() const { return rows_; }
  int64_t count() const { return int64_t(row_of_.size()); }  // that come
  int32_t row(int64_t i) const { return row_of_[size_t(i)]; }
  std::span<const int32_t> row_of() const { return row_of_; }

 private:
  int64_t rows_;
  std::vector<int32_t> row_of_;
};

// The same on a device.
struct RowIndex {
  int64_t rows = 0, count = 0;
  Tensor row_of;        // [count]: for ops::gather_rows
  ops::RowSums copies;  // of each row, in the order in which they came: for ops::sum_rows
};

// All in one upload.
std::vector<RowIndex> on_device(const std::vector<RowMap>& maps, Device& device);

}  // namespace elastron::model

#include "model/row_index.h"

#include <limits>
#include <numeric>

namespace elastron::model {

void RowMap::append(int64_t row, int64_t count) {
  ELASTRON_CHECK(row >= 0 && count >= 0 && row + count <= rows_, "rows that are not there");
  ELASTRON_CHECK(rows_ <= std::numeric_limits<int32_t>::max(), "row numbers have 32 bits");
  const size_t first = row_of_.size();
  row_of_.resize(first + size_t(count));
  std::iota(row_of_.begin() + std::ptrdiff_t(first), row_of_.end(), int32_t(row));
}

namespace {

// The numbers of an index: where each row's copies begin, which they are, and the row of each.
void append_numbers(const RowMap& map, std::vector<int32_t>& numbers) {
  const size_t bounds = numbers.size(), rows = size_t(map.rows());
  numbers.resize(bounds + rows + 1, 0);
  for (const int32_t row : map.row_of()) ++numbers[bounds + size_t(row) + 1];
  for (size_t r = 0; r < rows; ++r) numbers[bounds + r + 1] += numbers[bounds + r];
  std::vector<int32_t> next(numbers.begin() + std::ptrdiff_t(bounds), numbers.end());
  const size_t copies = numbers.size();
  numbers.resize(copies + size_t(map.count()));
  for (int64_t i = 0; i < map.count(); ++i) {
    numbers[copies + size_t(next[size_t(map.row(i))]++)] = int32_t(i);
  }
  numbers.insert(numbers.end(), map.row_of().begin(), map.row_of().end());
}

}  // namespace

std::vector<RowIndex> on_device(const std::vector<RowMap>& maps, Device& device) {
  std::vector<int32_t> numbers;
  for (const RowMap& map : maps) append_numbers(map, numbers);
  const Tensor all = Tensor::from(numbers, {int64_t(numbers.size())}, device);
  std::vector<RowIndex> indices;
  int64_t at = 0;
  const auto take = [&](int64_t count) {
    at += count;
    return all.slice(0, at - count, at);
  };
  for (const RowMap& map : maps) {
    RowIndex& index = indices.emplace_back();
    index.rows = map.rows();
    index.count = map.count();
    index.copies.bounds = take(map.rows() + 1);
    index.copies.rows = take(map.count());
    index.row_of = take(map.count());
  }
  return indices;
}

}  // namespace elastron::model

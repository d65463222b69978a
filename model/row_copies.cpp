#include "model/row_copies.h"

#include "ops/elementwise.h"

namespace elastron::model {

Tensor with_rows(const Tensor& t, int64_t rows) {
  Shape shape = t.shape();
  shape.set(0, rows);
  return Tensor::empty(shape, t.dtype(), t.device());
}

void RowCopies::append(int64_t row, int64_t count) {
  if (count == 0) return;
  seen_.resize(size_t(rows_), false);
  const bool first = !seen_[size_t(row)];
  if (first) {
    std::fill_n(seen_.begin() + row, count, true);
    covered_ += count;
  }
  copies_.push_back({row, copied_, count, first});
  copied_ += count;
}

Tensor RowCopies::expand(const Tensor& rows) const {
  ELASTRON_CHECK(rows.size(0) == rows_, "other rows than these copies were made for");
  Tensor out = with_rows(rows, copied_);
  for (const Copy& c : copies_) {
    out.slice(0, c.at, c.at + c.count).copy_from(rows.slice(0, c.row, c.row + c.count));
  }
  return out;
}

Tensor RowCopies::sum(const Tensor& copies) const {
  ELASTRON_CHECK(copies.size(0) == copied_, "other copies than these");
  Tensor out = with_rows(copies, rows_);
  if (covered_ < rows_) out.zero();
  for (const Copy& c : copies_) {
    Tensor to = out.slice(0, c.row, c.row + c.count);
    const Tensor from = copies.slice(0, c.at, c.at + c.count);
    if (c.first) {
      to.copy_from(from);
    } else {
      ops::add_into(to, from);
    }
  }
  return out;
}

}  // namespace elastron::model

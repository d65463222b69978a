#include "ops/rows.h"

#include <algorithm>

#include "core/ceil_div.h"
#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/rows.h"
#include "ops/cuda/rows.h"

namespace elastron::ops {

namespace {

int64_t width_of(const Tensor& t) {
  int64_t width = 1;
  for (int d = 1; d < t.rank(); ++d) width *= t.size(d);
  return width;
}

// Elements between rows.
int64_t stride_of(const Tensor& t, const char* op) {
  ELASTRON_CHECK(t.rank() >= 1, std::string(op) + ": a tensor of rows has at least one dim");
  if (t.size(0) > 0) check_contiguous(t.slice(0, 0, 1), op);
  return t.size(0) > 1 ? t.stride(0) : width_of(t);
}

void check_alike(const std::vector<Tensor>& tensors, const Tensor& like, const char* op) {
  const int64_t width = width_of(like), stride = stride_of(tensors.front(), op);
  for (const Tensor& t : tensors) {
    ELASTRON_CHECK(t.dtype() == like.dtype() && &t.device() == &like.device() &&
                       width_of(t) == width && t.size(0) == tensors.front().size(0) &&
                       stride_of(t, op) == stride,
                   std::string(op) + ": tensors of one call have rows alike");
  }
}

void check_index(const Tensor& index, int64_t n, const Tensor& of, const char* op) {
  check_contiguous(index, op);
  ELASTRON_CHECK(index.rank() == 1 && index.size(0) == n && index.dtype() == DType::i32 &&
                     &index.device() == &of.device(),
                 std::string(op) + ": an index is [n] int32 on the same device");
}

// As many at once as a kernel takes.
template <class F>
void in_pieces(const std::vector<Tensor>& from, const std::vector<Tensor>& to, const char* op,
               const F& f) {
  ELASTRON_CHECK(!from.empty() && from.size() == to.size(),
                 std::string(op) + ": as many tensors are written as are read");
  check_alike(from, from.front(), op);
  check_alike(to, from.front(), op);
  for (size_t begin = 0; begin < from.size(); begin += kMostRowPieces) {
    RowPieces pieces{.from_stride = stride_of(from.front(), op),
                     .to_stride = stride_of(to.front(), op),
                     .width = width_of(from.front()),
                     .count = int(std::min<size_t>(kMostRowPieces, from.size() - begin))};
    for (size_t i = 0; i < size_t(pieces.count); ++i) {
      pieces.from[i] = from[begin + i].raw();
      pieces.to[i] = to[begin + i].raw();
    }
    f(pieces);
  }
}

// `rows` rows of each piece are read or written, and the numbers that say which.
OpCost moves(const char* op, const RowPieces& pieces, int64_t rows, int64_t numbers, size_t item,
             int64_t written) {
  return {.name = op,
          .bytes = double(pieces.count) * double(rows * pieces.width) * double(item) +
                   double(numbers) * double(sizeof(int32_t)),
          .launches = written > 0 && pieces.width > 0 ? 1 : 0};
}

}  // namespace

void gather_rows(const std::vector<Tensor>& from, const Tensor& index,
                 const std::vector<Tensor>& to) {
  const char* op = "gather_rows";
  in_pieces(from, to, op, [&](const RowPieces& pieces) {
    const Tensor& first = to.front();
    const int64_t n = first.size(0);
    const int32_t* rows = nullptr;
    if (index.defined()) {
      check_index(index, n, first, op);
      rows = index.data<int32_t>();
    } else {
      ELASTRON_CHECK(from.front().size(0) == n, "gather_rows: as many rows without an index");
    }
    const size_t item = dtype_size(first.dtype());
    run_on(
        first.device(), [&] { cpu::gather_rows(pieces, rows, n, item); },
        [&](auto stream) { cuda::gather_rows(pieces, rows, n, item, stream); },
        [&] { return moves(op, pieces, 2 * n, rows != nullptr ? n : 0, item, n); });
  });
}

Tensor gather_rows(const Tensor& x, const Tensor& index) {
  Shape shape = x.shape();
  shape.set(0, index.size(0));
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  gather_rows({x}, index, {y});
  return y;
}

void scatter_rows(const Tensor& x, const Tensor& index, Tensor& y) {
  const char* op = "scatter_rows";
  in_pieces({x}, {y}, op, [&](const RowPieces& pieces) {
    const int64_t n = x.size(0);
    check_index(index, n, x, op);
    const int32_t* rows = index.data<int32_t>();
    const size_t item = dtype_size(x.dtype());
    run_on(
        x.device(), [&] { cpu::scatter_rows(pieces, rows, n, item); },
        [&](auto stream) { cuda::scatter_rows(pieces, rows, n, item, stream); },
        [&] { return moves(op, pieces, 2 * n, n, item, n); });
  });
}

void add_rows(const Tensor& x, const Tensor& index, Tensor& y) {
  const char* op = "add_rows";
  check_dense(op, x, y);
  in_pieces({x}, {y}, op, [&](const RowPieces& pieces) {
    const int64_t n = x.size(0);
    check_index(index, n, x, op);
    with_float_dtype(x.dtype(), [&]<class T>() {
      const T* from = x.data<T>();
      const int32_t* rows = index.data<int32_t>();
      T* to = y.data<T>();
      run_on(
          x.device(), [&] { cpu::add_rows(from, rows, to, n, pieces.width); },
          [&](auto stream) { cuda::add_rows<T>(pieces, rows, n, stream); },
          [&] { return moves(op, pieces, 3 * n, n, sizeof(T), n); });
    });
  });
}

void sum_rows(const std::vector<Tensor>& from, const RowSums& sums, const std::vector<Tensor>& to) {
  const char* op = "sum_rows";
  in_pieces(from, to, op, [&](const RowPieces& pieces) {
    const Tensor& first = to.front();
    const int64_t n = first.size(0), terms = sums.rows.size(0);
    check_index(sums.bounds, n + 1, first, op);
    check_index(sums.rows, terms, first, op);
    const int32_t* bounds = sums.bounds.data<int32_t>();
    const int32_t* rows = sums.rows.data<int32_t>();
    with_float_dtype(first.dtype(), [&]<class T>() {
      run_on(
          first.device(), [&] { cpu::sum_rows<T>(pieces, bounds, rows, n); },
          [&](auto stream) { cuda::sum_rows<T>(pieces, bounds, rows, n, stream); },
          [&] { return moves(op, pieces, n + terms, n + terms, sizeof(T), n); });
    });
  });
}

}  // namespace elastron::ops

#include "ops/cpu/grouped_linear.h"

#include <algorithm>

#include "core/ceil_div.h"
#include "ops/cpu/linear.h"
#include "ops/cpu/rows.h"

namespace elastron::ops::cpu {

namespace {

// The number of rows that a product of `rows` is made for.
int64_t products_rows(int64_t rows) {
  const int64_t step = rows <= 512 ? 16 : 32;
  return std::min(ceil_div(rows, step) * step, kGroupedRows);
}

void copy_rows(const Tensor& from, const int32_t* index, const Tensor& to, int64_t n) {
  RowPieces pieces{.from_stride = from.size(1), .to_stride = to.size(1), .width = from.size(1)};
  pieces.count = 1;
  pieces.from[0] = from.raw();
  pieces.to[0] = to.raw();
  gather_rows(pieces, index, n, dtype_size(from.dtype()));
}

// product(x [n, in], weight, accumulate, y [n, out]) over the groups.
template <class F>
void for_groups(const Tensor& x, const Tensor& weights, const RowGroups& groups, bool accumulate,
                const GroupedScratch& scratch, Tensor& y, const F& product) {
  const int32_t* bounds = groups.bounds.data<int32_t>();
  const int32_t* rows = groups.rows.defined() ? groups.rows.data<int32_t>() : nullptr;
  const Shape one{weights.size(1), weights.size(2)};
  for (int64_t g = 0; g < weights.size(0); ++g) {
    for (int64_t begin = bounds[g], end = begin; begin < bounds[g + 1]; begin = end) {
      end = std::min<int64_t>(begin + kGroupedRows, bounds[g + 1]);
      const int64_t n = end - begin, padded = products_rows(n);
      const WeightScale none;
      const Tensor weight = weights.slice(0, g, g + 1).view(one);
      // What stands in the rows behind the last one is multiplied too: other rows, or what was left in
      // the scratch memory. Its results are in rows of groups that come later, which write over them,
      // or are left.
      const int64_t past = begin + padded;
      Tensor in = scratch.in.slice(0, 0, padded), out = scratch.out.slice(0, 0, padded);
      if (rows != nullptr) {
        copy_rows(x, rows + begin, in, n);
      } else if (past <= x.size(0)) {
        in = x.slice(0, begin, past);
      } else {
        copy_rows(x.slice(0, begin, end), nullptr, in, n);
      }
      const Tensor place = y.slice(0, begin, end);
      const bool in_place = n == padded || (!accumulate && past <= y.size(0));
      if (in_place) out = y.slice(0, begin, past);
      if (!in_place && accumulate) copy_rows(place, nullptr, out, n);
      product(in, WeightView{weight, none, nullptr}, out);
      if (!in_place) copy_rows(out, nullptr, place, n);
    }
  }
}

}  // namespace

GroupedScratch::GroupedScratch(int64_t rows, int64_t in_width, int64_t out_width, DType dtype,
                               Device& device) {
  const int64_t most = products_rows(rows);
  in = Tensor::empty({most, in_width}, dtype, device);
  out = Tensor::empty({most, out_width}, dtype, device);
  // Of what was not written nothing is read, but numbers that are none take longer.
  in.zero();
  out.zero();
}

void grouped_linear_forward(const Tensor& x, const Tensor& weights, const RowGroups& groups,
                            GroupedScratch& scratch, Tensor& y) {
  for_groups(
      x, weights, groups, false, scratch, y,
      [](const Tensor& in, const WeightView& w, Tensor& out) { linear_forward(in, w, {}, out); });
}

void grouped_linear_dgrad(const Tensor& dy, const Tensor& weights, const RowGroups& groups,
                          bool accumulate, GroupedScratch& scratch, Tensor& dx) {
  for_groups(dy, weights, groups, accumulate, scratch, dx,
             [=](const Tensor& in, const WeightView& w, Tensor& out) {
               linear_dgrad(in, w, accumulate, out);
             });
}

}  // namespace elastron::ops::cpu

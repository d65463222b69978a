#include "ops/cpu/grouped_linear.h"

#include <algorithm>

#include "core/ceil_div.h"
#include "core/trace.h"
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

// Where products with activations of that dtype want the weights packed and they have not been: f(group,
// weight, its bytes). All at once, so that the memory does not depend on what rows choose, and in one
// block, which has large pages.
template <class F>
void to_be_packed(const GroupedWeight& weights, Product product, DType activations, const F& f) {
  if (weights.groups() == 0) return;
  const WeightView first = view_of(weights.of(0), product);
  if (first.packed == nullptr || first.packed->bytes.defined()) return;
  if (!is_packed(activations, first.values)) return;
  constexpr int64_t kAligned = 64;
  const int64_t bytes = ceil_div(packed_bytes(product, first.values), kAligned) * kAligned;
  const TraceRange range("packed weights");
  const Tensor all = Tensor::empty({weights.groups(), bytes}, DType::u8, weights.tensor().device());
  for (int64_t g = 0; g < weights.groups(); ++g) {
    f(view_of(weights.of(g), product), all.slice(0, g, g + 1));
  }
}

// f(x [n, in], weight, y [n, out]) over the groups.
template <class F>
void for_groups(const Tensor& x, const GroupedWeight& weights, const RowGroups& groups,
                Product product, bool accumulate, const GroupedScratch& scratch, Tensor& y,
                const F& f) {
  to_be_packed(weights, product, x.dtype(), [&](const WeightView& w, const Tensor& bytes) {
    pack(product, w.values, bytes, *w.packed);
  });
  const int32_t* bounds = groups.bounds.data<int32_t>();
  const int32_t* rows = groups.rows.defined() ? groups.rows.data<int32_t>() : nullptr;
  for (int64_t g = 0; g < weights.groups(); ++g) {
    for (int64_t begin = bounds[g], end = begin; begin < bounds[g + 1]; begin = end) {
      end = std::min<int64_t>(begin + kGroupedRows, bounds[g + 1]);
      const int64_t n = end - begin, padded = products_rows(n);
      // What stands in the rows behind the last one is multiplied too: other rows, or zeros. Its
      // results are in rows of groups that come later, which write over them, or are left.
      const int64_t past = begin + padded;
      Tensor in = scratch.in.slice(0, 0, padded), out = scratch.out.slice(0, 0, padded);
      if (rows == nullptr && past <= x.size(0)) {
        in = x.slice(0, begin, past);
      } else {
        copy_rows(rows != nullptr ? x : x.slice(0, begin, end),
                  rows != nullptr ? rows + begin : nullptr, in, n);
        in.slice(0, n, padded).zero();
      }
      const Tensor place = y.slice(0, begin, end);
      const bool in_place = n == padded || (!accumulate && past <= y.size(0));
      if (in_place) out = y.slice(0, begin, past);
      if (!in_place && accumulate) {
        copy_rows(place, nullptr, out, n);
        out.slice(0, n, padded).zero();
      }
      f(in, view_of(weights.of(g), product), out);
      if (!in_place) copy_rows(out, nullptr, place, n);
    }
  }
}

}  // namespace

void plan_packing(const GroupedWeight& weights, Product product, DType activations) {
  to_be_packed(weights, product, activations,
               [](const WeightView& w, const Tensor& bytes) { w.packed->bytes = bytes; });
}

GroupedScratch::GroupedScratch(int64_t rows, int64_t in_width, int64_t out_width, DType dtype,
                               Device& device) {
  const int64_t most = products_rows(rows);
  in = Tensor::empty({most, in_width}, dtype, device);
  out = Tensor::empty({most, out_width}, dtype, device);
}

void grouped_linear_forward(const Tensor& x, const GroupedWeight& weights, const RowGroups& groups,
                            GroupedScratch& scratch, Tensor& y) {
  for_groups(
      x, weights, groups, Product::forward, false, scratch, y,
      [](const Tensor& in, const WeightView& w, Tensor& out) { linear_forward(in, w, {}, out); });
}

void grouped_linear_dgrad(const Tensor& dy, const GroupedWeight& weights, const RowGroups& groups,
                          bool accumulate, GroupedScratch& scratch, Tensor& dx) {
  for_groups(dy, weights, groups, Product::dgrad, accumulate, scratch, dx,
             [=](const Tensor& in, const WeightView& w, Tensor& out) {
               linear_dgrad(in, w, accumulate, out);
             });
}

}  // namespace elastron::ops::cpu

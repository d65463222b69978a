// CPU back end of ops/grouped_linear.h: one product after another by ops/cpu/linear.h, each with all
// threads.
#pragma once
#include "ops/cpu/matmul.h"
#include "ops/grouped_linear.h"

namespace elastron::ops::cpu {

// A compiled product is of a number of rows, so that these are of few kinds: rows of a group are
// taken kGroupedRows at a time, and what is left in steps.
inline constexpr int64_t kGroupedRows = 1024;

// Where rows stand that are put together, and results that have more rows than are wanted; the
// same bytes however the rows are divided.
struct GroupedScratch {
  Tensor in, out;
  // For `rows` rows in all, of these widths and dtype.
  GroupedScratch(int64_t rows, int64_t in_width, int64_t out_width, DType dtype, Device& device);
};

// As of ops/cpu/linear.h.
void plan_packing(const GroupedWeight& weights, Product product, DType activations);

void grouped_linear_forward(const Tensor& x, const GroupedWeight& weights, const RowGroups& groups,
                            GroupedScratch& scratch, Tensor& y);
void grouped_linear_dgrad(const Tensor& dy, const GroupedWeight& weights, const RowGroups& groups,
                          bool accumulate, GroupedScratch& scratch, Tensor& dx);

}  // namespace elastron::ops::cpu

// Reductions: sums of squares, finiteness, and sums over rows. The order of additions is fixed by
// the shapes alone, so that repeats give the same bits. Device pointers.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/dtype.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// Numbers of scratch (doubles) for n elements.
int64_t sum_of_squares_scratch(int64_t n);
// *sum = sum of x^2, *finite = 1 where all are finite, else 0; either may be null.
template <class T>
void sum_of_squares(const T* x, int64_t n, double* scratch, double* sum, Stream stream);
template <class T>
void all_finite(const T* x, int64_t n, int32_t* finite, Stream stream);

// Numbers of scratch for column sums of [rows, columns].
int64_t column_sums_scratch(int64_t rows, int64_t columns);
// out [columns] += sum over rows of x [rows, columns].
template <class T>
void add_column_sums(const T* x, int64_t rows, int64_t columns, accumulator_t<T>* scratch,
                     accumulator_t<T>* out, Stream stream);
// dw [n] += sum over rows of dy x inv_rms: the weight gradient of RMSNorm.
template <class T>
void add_rms_norm_weight_gradient(const T* dy, const T* x, const accumulator_t<T>* inv_rms,
                                  int64_t rows, int64_t n, accumulator_t<T>* scratch,
                                  accumulator_t<T>* dw, Stream stream);

}  // namespace elastron::ops::cuda

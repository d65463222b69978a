// CUDA back ends of ops/rows.h: device pointers, everything checked by the caller; issued on
// `stream`. T: double, float or bf16. Nothing is launched where there is nothing to write.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/dtype.h"
#include "ops/row_pieces.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// `item`: bytes of an element. index: of the rows that are read, or null for row i.
void gather_rows(const RowPieces& pieces, const int32_t* index, int64_t n, size_t item,
                 Stream stream);
void scatter_rows(const RowPieces& pieces, const int32_t* index, int64_t n, size_t item,
                  Stream stream);
template <class T>
void add_rows(const RowPieces& pieces, const int32_t* index, int64_t n, Stream stream);
template <class T>
void sum_rows(const RowPieces& pieces, const int32_t* bounds, const int32_t* rows, int64_t n,
              Stream stream);

}  // namespace elastron::ops::cuda

// The arguments of the back ends of ops/rows.h: checked by the front, plain pointers.
#pragma once
#include <array>
#include <cstdint>

namespace elastron::ops {

// Tensors that one kernel takes: its arguments hold so many pointers.
inline constexpr int kMostRowPieces = 16;

// Rows of `width` elements; strides between the rows of one tensor in elements.
struct RowPieces {
  std::array<const void*, kMostRowPieces> from{};
  std::array<void*, kMostRowPieces> to{};
  int64_t from_stride = 0, to_stride = 0, width = 0;
  int count = 0;
};

}  // namespace elastron::ops

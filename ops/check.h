// Checks shared by the op fronts. These catch mistakes of the program, never user input.
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

inline void check_same(const Tensor& a, const Tensor& b, const char* op) {
  ELASTRON_CHECK(a.shape() == b.shape(),
                 std::string(op) + ": shapes " + a.shape().str() + " and " + b.shape().str());
  ELASTRON_CHECK(a.dtype() == b.dtype() && &a.device() == &b.device(),
                 std::string(op) + ": dtypes or devices differ");
}

inline void check_contiguous(const Tensor& t, const char* op) {
  ELASTRON_CHECK(t.contiguous(), std::string(op) + ": needs a contiguous tensor");
}

inline void check_shape(const Tensor& t, const Shape& shape, const char* op) {
  ELASTRON_CHECK(t.shape() == shape,
                 std::string(op) + ": got " + t.shape().str() + ", wanted " + shape.str());
}

// All of them contiguous and on the first one's device.
template <class... Tensors>
void check_dense(const char* op, const Tensor& first, const Tensors&... rest) {
  check_contiguous(first, op);
  (check_contiguous(rest, op), ...);
  ELASTRON_CHECK(((&rest.device() == &first.device()) && ...),
                 std::string(op) + ": tensors on several devices");
}

}  // namespace elastron::ops

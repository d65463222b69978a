// How exact an op must be in float32 and bfloat16, without a tolerance chosen by eye: as exact as a
// plain computation in the same precision. That is how flash-attention's tests judge its kernels:
// the error of ours against double precision is at most twice the error of a same-precision
// reference, plus one rounding of the result.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "ops/elementwise.h"

namespace elastron::test {

// Half the distance of neighbours at 1.
inline double unit_roundoff(DType dtype) {
  return dtype == DType::bf16 ? 0x1p-9 : dtype == DType::f32 ? 0x1p-24 : 0x1p-53;
}

// A number as the dtype holds it.
inline double rounded(double x, DType dtype) {
  if (dtype == DType::f64) return x;
  return dtype == DType::f32 ? double(float(x)) : double(float(bf16(float(x))));
}

inline std::vector<double> doubles(const Tensor& x) {
  return ops::cast(x, DType::f64).to_vector<double>();
}

// Errors are the largest over the tensor. `peer`: the reference's numbers, `exact`: the double's,
// of the same inputs.
inline void expect_as_exact_as(const std::vector<double>& peer, const std::vector<double>& exact,
                               const Tensor& ours, const std::string& what) {
  const auto got = doubles(ours);
  ASSERT_EQ(got.size(), exact.size()) << what;
  ASSERT_EQ(peer.size(), exact.size()) << what;
  double ours_error = 0, peer_error = 0, scale = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(std::isfinite(got[i])) << what << " element " << i;
    ours_error = std::max(ours_error, std::abs(got[i] - exact[i]));
    peer_error = std::max(peer_error, std::abs(peer[i] - exact[i]));
    scale = std::max(scale, std::abs(exact[i]));
  }
  EXPECT_LE(ours_error, 2 * peer_error + unit_roundoff(ours.dtype()) * scale)
      << what << " in " << dtype_name(ours.dtype()) << ", the reference errs by " << peer_error;
}

}  // namespace elastron::test

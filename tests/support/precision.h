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

// The largest errors of results that belong together. Of few numbers a reference is exact by luck:
// several draws of a small problem go into one of these.
class Exactness {
 public:
  // `peer`: the reference's numbers, `exact`: the double's, of the same inputs.
  void add(const std::vector<double>& peer, const std::vector<double>& exact, const Tensor& ours,
           const std::string& what) {
    const auto got = doubles(ours);
    ASSERT_EQ(got.size(), exact.size()) << what;
    ASSERT_EQ(peer.size(), exact.size()) << what;
    dtype_ = ours.dtype();
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(std::isfinite(got[i])) << what << " element " << i;
      ours_error_ = std::max(ours_error_, std::abs(got[i] - exact[i]));
      peer_error_ = std::max(peer_error_, std::abs(peer[i] - exact[i]));
      scale_ = std::max(scale_, std::abs(exact[i]));
    }
  }
  void expect(const std::string& what) const {
    EXPECT_LE(ours_error_, 2 * peer_error_ + unit_roundoff(dtype_) * scale_)
        << what << " in " << dtype_name(dtype_) << ", the reference errs by " << peer_error_;
  }

 private:
  DType dtype_ = DType::f32;
  double ours_error_ = 0, peer_error_ = 0, scale_ = 0;
};

// Of one tensor.
inline void expect_as_exact_as(const std::vector<double>& peer, const std::vector<double>& exact,
                               const Tensor& ours, const std::string& what) {
  Exactness exactness;
  exactness.add(peer, exact, ours, what);
  exactness.expect(what);
}

}  // namespace elastron::test

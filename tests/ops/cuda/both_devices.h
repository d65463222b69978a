// The same op on the CPU and on the GPU. On a machine without one the test says that it was
// skipped; built against the emulator there always is one.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/cuda/device.h"
#include "ops/cuda/attention/hopper_kernels.h"
#include "ops/elementwise.h"
#include "tests/support/gradcheck.h"

namespace elastron::test {

class BothDevices : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (elastron::cuda::device_count(&why) == 0) GTEST_SKIP() << why;
    gpu_ = std::make_unique<elastron::cuda::CudaDevice>(0);
  }

  // For tests of the kernels for sm_90a: skipped on other GPUs, and a failure on such a one where
  // the build has no code for it.
  void need_hopper_kernels() {
    if (gpu_ == nullptr) return;  // skipped already
    const auto device = ops::cuda::attention_device();
    ASSERT_FALSE(ops::cuda::hopper_is_missing(device))
        << "compute capability " << device.capability
        << ", and this build has no code for 9.0a: configure with "
           "ELASTRON_CUDA_ARCHITECTURES=90a-real";
    if (!ops::cuda::hopper_runs_on(device)) GTEST_SKIP() << "no GPU of sm_90";
  }

  Tensor on_gpu(const Tensor& t) {
    if (!t.defined()) return t;
    const Tensor source = t.contiguous() ? t : t.clone();
    Tensor there = Tensor::empty(t.shape(), t.dtype(), *gpu_);
    if (t.numel() > 0) gpu_->copy_from_host(there.raw(), source.raw(), source.bytes());
    return there;
  }
  static std::vector<double> numbers(const Tensor& t) {
    if (t.dtype() == DType::i32 || t.dtype() == DType::u8) {
      std::vector<double> values;
      if (t.dtype() == DType::i32) {
        for (const int32_t v : t.to_vector<int32_t>()) values.push_back(v);
      } else {
        for (const uint8_t v : t.to_vector<uint8_t>()) values.push_back(v);
      }
      return values;
    }
    return ops::cast(t, DType::f64).to_vector<double>();
  }
  static double tolerance(DType t) {
    return t == DType::f64 ? 1e-12 : t == DType::f32 ? 2e-5 : 1.6e-2;
  }
  // Every element, relative to the larger of it and the root mean square.
  static void expect_same(const Tensor& cpu, const Tensor& gpu, const std::string& what,
                          double most = -1) {
    ASSERT_EQ(cpu.defined(), gpu.defined()) << what;
    if (!cpu.defined()) return;
    ASSERT_EQ(cpu.shape(), gpu.shape()) << what;
    ASSERT_EQ(cpu.dtype(), gpu.dtype()) << what;
    const auto a = numbers(cpu), b = numbers(gpu);
    double squares = 0;
    for (const double x : a) squares += std::isfinite(x) ? x * x : 0;
    const double typical = a.empty() ? 0 : std::sqrt(squares / double(a.size()));
    const double t = most >= 0 ? most : tolerance(cpu.dtype());
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i] == b[i]) continue;
      ASSERT_LE(std::abs(a[i] - b[i]), t * std::max(std::abs(a[i]), typical))
          << what << " element " << i << ": " << a[i] << " on the CPU, " << b[i] << " on the GPU";
    }
  }

  CpuDevice cpu_;
  std::unique_ptr<elastron::cuda::CudaDevice> gpu_;
};

}  // namespace elastron::test

// Two ways to compute the same, on two devices or with two kinds of kernels: whether they agree.
#pragma once
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace elastron::ops::self_check {

// Inputs of a computation on one device, the same for every device: the n-th request gives numbers
// that depend on n alone.
class Inputs {
 public:
  explicit Inputs(Device& device) : device_(device) {}
  Device& device() { return device_; }
  Tensor normal(const Shape& shape, DType dtype);   // normal numbers
  Tensor uniform(const Shape& shape, DType dtype);  // in [0, 1)
  Tensor numbers(int64_t count, int64_t below);     // [count] int32 in [0, below)
  Tensor from(const std::vector<uint8_t>& values, const Shape& shape);

 private:
  Device& device_;
  uint32_t requests_ = 0;
};

using Results = std::vector<Tensor>;
using Computation = std::function<Results(Inputs&)>;

class Comparison {
 public:
  // Every element of `found` must be within `tolerance` of that of `wanted`, relative to the larger
  // of it and the root mean square of all; NaN and other shapes differ. Waits for the device.
  void same(const std::string& what, const Tensor& wanted, const Tensor& found, double tolerance);
  // Runs `op` on both devices and compares the results in turn, which `names` names.
  void same(const std::string& what, Device& reference, Device& device, double tolerance,
            std::initializer_list<const char*> names, const Computation& op);

  // "dk: 0.31 in place of 0.12 (element 77 of 640)" of the first that differs; empty where all is
  // the same.
  const std::string& difference() const { return difference_; }

 private:
  std::string difference_;
};

// The elements on the host, converted there: nothing is computed on the device.
std::vector<double> host_numbers(const Tensor& t);

}  // namespace elastron::ops::self_check

// The checks of what is no attention (kernel_checks.h). Each compares with the CPU, and gives what
// differs, unless it says otherwise.
#pragma once
#include <string>

#include "core/device.h"
#include "core/dtype.h"

namespace elastron::ops::self_check {

// How far results may lie apart, relative to their size: well above what rounding and another
// order of sums do, far below what a lost tile does.
constexpr double tolerance(DType dtype) { return dtype == DType::bf16 ? 0.06 : 1e-3; }

// Elementwise ops, norms, RoPE, embedding, cross-entropy, sums and rows; with their gradients.
std::string check_dense_ops(DType dtype, Device& gpu);
// Pooling, gates and their gradients, in float32; pooling reads keys of `dtype`.
std::string check_gates(DType dtype, Device& gpu);
std::string check_optimizer(DType dtype, Device& gpu);
// The plain products, whatever the device is forbidden.
std::string check_plain_products(DType dtype, Device& gpu);
// The library's, against the plain ones: its first choice of algorithm, or the fastest one.
std::string check_library_products(DType dtype, bool tuned, Device& gpu);
// Choices, rows and products of a mixture of experts, in groups of few rows and of many: products by
// mma, where it takes their dtype, or by the plain kernels.
std::string check_experts(DType dtype, bool mma, Device& gpu);
std::string check_decoding(DType dtype, int64_t head_dim, int64_t group, Device& gpu);

}  // namespace elastron::ops::self_check

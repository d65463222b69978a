#include "ops/self_check/comparison.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/dispatch.h"
#include "core/error.h"
#include "core/philox.h"

namespace elastron::ops::self_check {

namespace {

Tensor converted(const std::vector<double>& values, const Shape& shape, DType dtype,
                 Device& device) {
  return with_float_dtype(dtype, [&]<class T>() {
    std::vector<T> of_type;
    of_type.reserve(values.size());
    for (const double v : values) of_type.push_back(T(accumulator_t<T>(v)));
    return Tensor::from(of_type, shape, device);
  });
}

template <class T>
std::vector<double> widened(const Tensor& t) {
  std::vector<double> values;
  for (const T x : t.to_vector<T>()) values.push_back(double(x));
  return values;
}

std::string formatted(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", x);
  return text;
}

}  // namespace

Tensor Inputs::normal(const Shape& shape, DType dtype) {
  const RandomStream stream(0, RandomPurpose::test, ++requests_);
  std::vector<double> values(size_t(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = stream.normal_at(i);
  return converted(values, shape, dtype, device_);
}

Tensor Inputs::uniform(const Shape& shape, DType dtype) {
  const RandomStream stream(0, RandomPurpose::test, ++requests_);
  std::vector<double> values(size_t(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = double(stream.bits_at(i)) * 0x1p-32;
  return converted(values, shape, dtype, device_);
}

Tensor Inputs::numbers(int64_t count, int64_t below) {
  const RandomStream stream(0, RandomPurpose::test, ++requests_);
  std::vector<int32_t> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(int32_t(stream.bits_at(uint64_t(i)) % uint32_t(below)));
  }
  return Tensor::from(values, {count}, device_);
}

Tensor Inputs::from(const std::vector<uint8_t>& values, const Shape& shape) {
  return Tensor::from(values, shape, device_);
}

std::vector<double> host_numbers(const Tensor& t) {
  switch (t.dtype()) {
    case DType::i64: return widened<int64_t>(t);
    case DType::i32: return widened<int32_t>(t);
    case DType::u8: return widened<uint8_t>(t);
    default: return with_float_dtype(t.dtype(), [&]<class T>() { return widened<T>(t); });
  }
}

void Comparison::same(const std::string& what, const Tensor& wanted, const Tensor& found,
                      double tolerance) {
  if (!difference_.empty()) return;
  if (wanted.defined() != found.defined() ||
      (wanted.defined() && (wanted.shape() != found.shape() || wanted.dtype() != found.dtype()))) {
    difference_ = what + ": another shape or type";
    return;
  }
  if (!wanted.defined()) return;
  const auto a = host_numbers(wanted), b = host_numbers(found);
  double squares = 0;
  for (const double x : a) squares += x * x;
  const double typical = a.empty() ? 0 : std::sqrt(squares / double(a.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::abs(a[i] - b[i]) <= tolerance * std::max(std::abs(a[i]), typical)) continue;
    difference_ = what + ": " + formatted(b[i]) + " in place of " + formatted(a[i]) + " (element " +
                  std::to_string(i) + " of " + std::to_string(a.size()) + ")";
    return;
  }
}

void Comparison::same(const std::string& what, Device& reference, Device& device, double tolerance,
                      std::initializer_list<const char*> names, const Computation& op) {
  Inputs there(reference), here(device);
  const Results wanted = op(there), found = op(here);
  ELASTRON_CHECK(wanted.size() == names.size() && found.size() == names.size(),
                 "self-check: a result without a name");
  size_t i = 0;
  for (const char* name : names) {
    same(what + " " + name, wanted[i], found[i], tolerance);
    ++i;
  }
}

}  // namespace elastron::ops::self_check

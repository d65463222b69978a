// A strided view of a reference-counted block of device memory. Copying a Tensor copies the view,
// never the data; no op moves data between devices by itself.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/error.h"

namespace elastron {

// Up to six extents.
class Shape {
 public:
  static constexpr int kMaxRank = 6;
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);
  explicit Shape(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int dim) const;  // negative counts from the end
  void set(int dim, int64_t extent);
  int64_t numel() const;
  std::span<const int64_t> extents() const { return {extents_.data(), size_t(rank_)}; }
  std::string str() const;  // "[3, 64, 128]"
  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

class Tensor {
 public:
  Tensor() = default;  // empty handle: defined() is false

  static Tensor empty(const Shape& shape, DType dtype, Device& device);
  static Tensor zeros(const Shape& shape, DType dtype, Device& device);
  // Copies host values to the device.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device& device) {
    ELASTRON_CHECK(int64_t(values.size()) == shape.numel(),
                   "value count differs from " + shape.str());
    Tensor t = empty(shape, dtype_of<T>, device);
    if (!values.empty()) device.copy_from_host(t.raw(), values.data(), values.size_bytes());
    return t;
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device& device) {
    return from(std::span<const T>(values), shape, device);
  }
  // A view of memory owned by somebody else (a mapped file, say) who must outlive it.
  static Tensor borrow(void* data, const Shape& shape, DType dtype, Device& device);

  bool defined() const { return device_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t size(int dim) const { return shape_[dim]; }
  int64_t stride(int dim) const;  // in elements
  int64_t numel() const { return shape_.numel(); }
  size_t bytes() const { return size_t(numel()) * dtype_size(dtype_); }
  DType dtype() const { return dtype_; }
  Device& device() const;
  bool contiguous() const;

  // Pointer to the first element; T must be the tensor's dtype.
  template <class T>
  T* data() const {
    ELASTRON_CHECK(dtype_of<T> == dtype_, "tensor holds " + std::string(dtype_name(dtype_)));
    return static_cast<T*>(raw());
  }
  void* raw() const { return data_; }

  // A copy of equal tensors as one, along a new first dimension; at least one.
  static Tensor stack(std::span<const Tensor> tensors);

  // Views (share memory).
  Tensor slice(int dim, int64_t begin, int64_t end) const;
  Tensor view(const Shape& shape) const;  // contiguous tensors only, same numel

  // Copies. Only contiguous tensors, except clone() and copy_from(), which take any strides.
  Tensor clone() const;               // contiguous copy on the same device
  void copy_from(const Tensor& src);  // same shape, dtype and device
  // The same between the host and another device, in either direction; both contiguous.
  void transfer_from(const Tensor& src);
  // This tensor where it is on `device` already, else a contiguous copy there.
  Tensor to(Device& device) const;
  // This tensor where it is on the host, else a contiguous copy there.
  Tensor on_host() const;
  void zero();  // contiguous
  template <class T>
  std::vector<T> to_vector() const {
    const Tensor source = contiguous() ? *this : clone();
    std::vector<T> values(static_cast<size_t>(numel()));
    if (!values.empty()) device().copy_to_host(values.data(), source.data<T>(), bytes());
    return values;
  }

 private:
  Shape shape_;
  std::array<int64_t, Shape::kMaxRank> strides_{};
  DType dtype_ = DType::f32;
  Device* device_ = nullptr;
  void* data_ = nullptr;
  std::shared_ptr<void> block_;
};

}  // namespace elastron

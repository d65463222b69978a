#include "core/tensor.h"

#include <algorithm>
#include <cstring>

namespace elastron {

Shape::Shape(std::initializer_list<int64_t> extents)
    : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int64_t> extents) : rank_(int(extents.size())) {
  ELASTRON_CHECK(rank_ <= kMaxRank, "at most six dims");
  for (int64_t e : extents) ELASTRON_CHECK(e >= 0, "negative extent");
  std::copy(extents.begin(), extents.end(), extents_.begin());
}

int64_t Shape::operator[](int dim) const {
  if (dim < 0) dim += rank_;
  ELASTRON_CHECK(dim >= 0 && dim < rank_, "dim out of range of " + str());
  return extents_[size_t(dim)];
}

void Shape::set(int dim, int64_t extent) {
  if (dim < 0) dim += rank_;
  ELASTRON_CHECK(dim >= 0 && dim < rank_ && extent >= 0, "dim out of range of " + str());
  extents_[size_t(dim)] = extent;
}

int64_t Shape::numel() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= extents_[size_t(i)];
  return n;
}

std::string Shape::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) s += ", ";
    s += std::to_string(extents_[size_t(i)]);
  }
  return s + "]";
}

bool Shape::operator==(const Shape& other) const {
  return std::ranges::equal(extents(), other.extents());
}

namespace {

std::array<int64_t, Shape::kMaxRank> contiguous_strides(const Shape& shape) {
  std::array<int64_t, Shape::kMaxRank> strides{};
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[size_t(i)] = step;
    step *= shape[i];
  }
  return strides;
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device& device) {
  Tensor t;
  t.shape_ = shape;
  t.strides_ = contiguous_strides(shape);
  t.dtype_ = dtype;
  t.device_ = &device;
  const size_t bytes = std::max<size_t>(t.bytes(), 1);
  Device* owner = &device;
  t.block_ = std::shared_ptr<void>(device.allocate(bytes),
                                   [owner, bytes](void* block) { owner->release(block, bytes); });
  t.data_ = t.block_.get();
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device& device) {
  Tensor t = empty(shape, dtype, device);
  t.zero();
  return t;
}

Tensor Tensor::borrow(void* data, const Shape& shape, DType dtype, Device& device) {
  Tensor t;
  t.shape_ = shape;
  t.strides_ = contiguous_strides(shape);
  t.dtype_ = dtype;
  t.device_ = &device;
  t.data_ = data;
  return t;
}

int64_t Tensor::stride(int dim) const {
  if (dim < 0) dim += rank();
  ELASTRON_CHECK(dim >= 0 && dim < rank(), "dim out of range of " + shape_.str());
  return strides_[size_t(dim)];
}

Device& Tensor::device() const {
  ELASTRON_CHECK(device_ != nullptr, "empty tensor handle");
  return *device_;
}

bool Tensor::contiguous() const {
  int64_t step = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[size_t(i)] != step) return false;
    step *= shape_[i];
  }
  return true;
}

Tensor Tensor::slice(int dim, int64_t begin, int64_t end) const {
  if (dim < 0) dim += rank();
  ELASTRON_CHECK(begin >= 0 && begin <= end && end <= size(dim),
                 "slice out of range of " + shape_.str());
  Tensor t = *this;
  t.shape_.set(dim, end - begin);
  t.data_ = static_cast<char*>(data_) + size_t(begin * stride(dim)) * dtype_size(dtype_);
  return t;
}

Tensor Tensor::view(const Shape& shape) const {
  ELASTRON_CHECK(contiguous(), "view of a tensor with gaps");
  ELASTRON_CHECK(shape.numel() == numel(), "view " + shape.str() + " of " + shape_.str());
  Tensor t = *this;
  t.shape_ = shape;
  t.strides_ = contiguous_strides(shape);
  return t;
}

Tensor Tensor::stack(std::span<const Tensor> tensors) {
  ELASTRON_CHECK(!tensors.empty(), "nothing to stack");
  const Tensor& first = tensors.front();
  std::vector<int64_t> extents = {int64_t(tensors.size())};
  extents.insert(extents.end(), first.shape().extents().begin(), first.shape().extents().end());
  Tensor out = empty(Shape(extents), first.dtype(), first.device());
  for (size_t i = 0; i < tensors.size(); ++i) {
    Tensor place = out.slice(0, int64_t(i), int64_t(i) + 1).view(first.shape());
    place.copy_from(tensors[i]);
  }
  return out;
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_, device());
  t.copy_from(*this);
  return t;
}

namespace {

// Dims from the last on whose elements lie without gaps in both: what one copy can take.
int dense_from(const Tensor& a, const Tensor& b) {
  int dim = a.rank();
  for (int64_t step = 1; dim > 0; --dim) {
    const int d = dim - 1;
    if (a.size(d) != 1 && (a.stride(d) != step || b.stride(d) != step)) break;
    step *= a.size(d);
  }
  return dim;
}

// Dims before `dense` are walked, the innermost of them in one call.
void copy_strided(char* dst, const char* src, const Tensor& dst_t, const Tensor& src_t, int dim,
                  int dense) {
  const size_t element = dtype_size(dst_t.dtype());
  size_t row = element;
  for (int d = dense; d < dst_t.rank(); ++d) row *= size_t(dst_t.size(d));
  if (dim == dense) {
    dst_t.device().copy(dst, src, row);
    return;
  }
  const size_t dst_stride = size_t(dst_t.stride(dim)) * element;
  const size_t src_stride = size_t(src_t.stride(dim)) * element;
  const auto count = size_t(dst_t.size(dim));
  if (dim + 1 == dense) {
    dst_t.device().copy_rows(dst, dst_stride, src, src_stride, row, count);
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    copy_strided(dst + i * dst_stride, src + i * src_stride, dst_t, src_t, dim + 1, dense);
  }
}

}  // namespace

void Tensor::copy_from(const Tensor& src) {
  ELASTRON_CHECK(shape_ == src.shape_, "copy " + src.shape_.str() + " to " + shape_.str());
  ELASTRON_CHECK(dtype_ == src.dtype_ && device_ == src.device_, "copy across dtypes or devices");
  if (numel() == 0) return;
  if (contiguous() && src.contiguous()) {
    device().copy(data_, src.data_, bytes());
    return;
  }
  copy_strided(static_cast<char*>(data_), static_cast<const char*>(src.data_), *this, src, 0,
               dense_from(*this, src));
}

void Tensor::transfer_from(const Tensor& src) {
  ELASTRON_CHECK(shape_ == src.shape_ && dtype_ == src.dtype_,
                 "transfer of " + src.shape_.str() + " to " + shape_.str());
  ELASTRON_CHECK(contiguous() && src.contiguous(), "transfer of a tensor with gaps");
  if (numel() == 0) return;
  if (src.device().kind() == DeviceKind::cpu) {
    device().copy_from_host(data_, src.data_, bytes());
  } else {
    ELASTRON_CHECK(device().kind() == DeviceKind::cpu, "transfers have the host at one end");
    src.device().copy_to_host(data_, src.data_, bytes());
  }
}

Tensor Tensor::to(Device& target) const {
  if (!defined() || device_ == &target) return *this;
  Tensor there = empty(shape_, dtype_, target);
  there.transfer_from(contiguous() ? *this : clone());
  return there;
}

Tensor Tensor::on_host() const {
  return defined() && device().kind() == DeviceKind::cpu ? *this : to(host_device());
}

void Tensor::zero() {
  ELASTRON_CHECK(contiguous(), "zero() of a tensor with gaps");
  if (numel() > 0) device().fill_zero(data_, bytes());
}

}  // namespace elastron

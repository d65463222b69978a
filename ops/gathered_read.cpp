#include "ops/gathered_read.h"

#include <cstring>
#include <utility>

#include "core/cuda/host_copies.h"
#include "ops/backend.h"
#include "ops/cuda/gathered_read.h"

namespace elastron::ops {

namespace {

constexpr size_t kAlignment = 8;

class FinishedCopy final : public HostCopy {
 public:
  explicit FinishedCopy(size_t bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() { return bytes_; }
  std::span<const std::byte> wait() override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Waited for where it is looked at, as on a GPU.
class MetaCopy final : public HostCopy {
 public:
  MetaCopy(MetaDevice& device, size_t bytes) : device_(device), zeros_(bytes) {
    device.begin_copy_to_host(bytes);
  }
  std::span<const std::byte> wait() override {
    if (!std::exchange(waited_, true)) device_.synchronize();
    return zeros_;
  }

 private:
  MetaDevice& device_;
  std::vector<std::byte> zeros_;
  bool waited_ = false;
};

size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Tensor gather_parts(std::span<const Tensor> parts) {
  ELASTRON_CHECK(!parts.empty(), "gather_parts takes at least one tensor");
  Device& device = parts.front().device();
  std::vector<cuda::GatheredPart> places;
  size_t bytes = 0, moved = 0;
  for (const Tensor& part : parts) {
    check_dense("gather_parts", parts.front(), part);
    places.push_back({part.raw(), int64_t(bytes), int64_t(part.bytes())});
    bytes += padded(part.bytes());
    moved += part.bytes();
  }
  Tensor out = Tensor::empty({int64_t(bytes)}, DType::u8, device);
  auto* to = out.data<uint8_t>();
  run_on(
      device,
      [&] {
        for (const auto& place : places) {
          if (place.bytes > 0) std::memcpy(to + place.begin, place.from, size_t(place.bytes));
        }
      },
      [&](auto stream) {
        const Tensor there = on_device(std::span<const cuda::GatheredPart>(places), device);
        cuda::gather_parts(static_cast<const cuda::GatheredPart*>(there.raw()),
                           int64_t(places.size()), to, stream);
      },
      [&](MetaDevice& meta) {
        meta.record({.name = "gather_parts", .bytes = 2 * double(moved)});
        if (meta.behaves_as() != DeviceKind::cuda) return;
        on_device(std::span<const cuda::GatheredPart>(places), meta);
      });
  return out;
}

GatheredRead::GatheredRead(std::span<const Tensor> parts) {
  size_t begin = 0;
  for (const Tensor& part : parts) {
    parts_.push_back({part.dtype(), part.numel(), begin});
    begin += padded(part.bytes());
  }
  const Tensor buffer = gather_parts(parts);
  Device& device = buffer.device();
  run_on(
      device,
      [&] {
        auto copy = std::make_unique<FinishedCopy>(buffer.bytes());
        if (buffer.numel() > 0) {
          device.copy_to_host(copy->bytes().data(), buffer.raw(), buffer.bytes());
        }
        copy_ = std::move(copy);
      },
      [&](auto stream) {
        copy_ = device.attached<elastron::cuda::HostCopies>().begin(buffer.raw(), buffer.bytes(),
                                                                    stream);
      },
      [&](MetaDevice& meta) { copy_ = std::make_unique<MetaCopy>(meta, buffer.bytes()); });
}

std::vector<double> GatheredRead::doubles(size_t i) {
  if (parts_.at(i).dtype == DType::f64) {
    const auto values = part<double>(i);
    return {values.begin(), values.end()};
  }
  const auto values = part<float>(i);
  return {values.begin(), values.end()};
}

}  // namespace elastron::ops

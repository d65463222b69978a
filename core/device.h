// A device owns memory and knows how to move bytes. Created once from the configuration, owned by
// the runtime, outlives every tensor on it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "core/dtype.h"

namespace elastron {

enum class DeviceKind : uint8_t {
  cpu,
  cuda,
  meta,  // core/meta_device.h: computes nothing
};

struct MemoryStatistics {
  int64_t in_use_bytes = 0;        // held by live tensors
  int64_t peak_bytes = 0;          // highest in_use_bytes since the last reset_peak()
  int64_t reserved_bytes = 0;      // taken from the system: in use + cached
  int64_t system_allocations = 0;  // calls to the system; a steady-state step adds none
};

class Device {
 public:
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual DeviceKind kind() const = 0;
  // cpu or cuda: by which of them is decided what is computed and held. Another than kind() on a
  // meta device alone, which stands for such a device.
  virtual DeviceKind behaves_as() const { return kind(); }
  // Whether what is written can be read again; not on a meta device.
  bool holds_values() const { return kind() != DeviceKind::meta; }
  virtual std::string description() const = 0;
  // At least 64-byte aligned; contents are undefined. Thread-safe. Throws UsageError with what
  // was asked and what is held when the system has no more, and advice_when_full().
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* block, size_t bytes) noexcept = 0;
  virtual void copy_from_host(void* dst, const void* src, size_t bytes) = 0;
  virtual void copy_to_host(void* dst, const void* src, size_t bytes) = 0;
  virtual void copy(void* dst, const void* src, size_t bytes) = 0;  // within this device
  // The same for `rows` pieces of row_bytes each, their beginnings the strides (in bytes) apart.
  virtual void copy_rows(void* dst, size_t dst_stride, const void* src, size_t src_stride,
                         size_t row_bytes, size_t rows) = 0;
  virtual void fill_zero(void* dst, size_t bytes) = 0;
  // Waits until all that was issued is done. Nothing but timing needs it.
  virtual void synchronize() = 0;

  virtual MemoryStatistics memory() const = 0;
  virtual void reset_peak() = 0;
  // Advice for when memory runs out: given by who knows what takes it.
  const std::string& advice_when_full() const { return advice_when_full_; }
  void set_advice_when_full(std::string advice) { advice_when_full_ = std::move(advice); }
  // Operations per second in matrix products of this type, by its data sheet; 0: not known.
  virtual double peak_flops(DType) const { return 0; }

  // State that a back end keeps per device, such as a library's handle and its kernels: made
  // by T's default constructor on first use, ends with the device, holds no memory of the device.
  // Thread-safe; T looks after itself.
  template <class T>
  T& attached() {
    return *static_cast<T*>(
        attached(typeid(T), [] { return std::static_pointer_cast<void>(std::make_shared<T>()); }));
  }

 protected:
  Device() = default;

 private:
  void* attached(std::type_index type, std::shared_ptr<void> (*make)());
  std::string advice_when_full_ = "use a device with more memory, or more devices";
  std::mutex attached_mutex_;
  std::unordered_map<std::type_index, std::shared_ptr<void>> attached_;
};

// Host memory behind a caching allocator: blocks are kept by size class and reused, so that a
// steady-state training step makes no call to the system.
class CpuDevice final : public Device {
 public:
  CpuDevice() = default;
  ~CpuDevice() override;

  DeviceKind kind() const override { return DeviceKind::cpu; }
  std::string description() const override;
  void* allocate(size_t bytes) override;
  void release(void* block, size_t bytes) noexcept override;
  void copy_from_host(void* dst, const void* src, size_t bytes) override;
  void copy_to_host(void* dst, const void* src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void copy_rows(void* dst, size_t dst_stride, const void* src, size_t src_stride, size_t row_bytes,
                 size_t rows) override;
  void fill_zero(void* dst, size_t bytes) override;
  void synchronize() override {}
  MemoryStatistics memory() const override;
  void reset_peak() override;

  // Size of the block that serves a request: at most 1/8 more than asked (pure, tested).
  static size_t size_class(size_t bytes);

 private:
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> cached_;
  MemoryStatistics statistics_;
};

// For tensors that stay on the host whatever the model runs on. Never destroyed.
CpuDevice& host_device();

}  // namespace elastron

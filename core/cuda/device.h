// One GPU: a stream that all work is issued on, memory from the driver's stream-ordered pool, and
// pinned staging buffers for what comes from and goes to the host.
//
// Work is asynchronous: an op returns when it is issued. copy_from_host() returns when the source
// may be changed, copy_to_host() when the bytes are there (it waits for all work issued before).
#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "core/cuda/stream.h"
#include "core/device.h"

namespace elastron::cuda {

// GPUs that this process could use; 0 without a driver. `why` (may be null) then says what is
// missing. Never throws.
int device_count(std::string* why = nullptr);

class CudaDevice final : public Device {
 public:
  // Throws UsageError when the GPU is not there or older than this build's code.
  explicit CudaDevice(int ordinal);
  ~CudaDevice() override;

  DeviceKind kind() const override { return DeviceKind::cuda; }
  std::string description() const override;
  void* allocate(size_t bytes) override;
  void release(void* block, size_t bytes) noexcept override;
  void copy_from_host(void* dst, const void* src, size_t bytes) override;
  void copy_to_host(void* dst, const void* src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void copy_rows(void* dst, size_t dst_stride, const void* src, size_t src_stride, size_t row_bytes,
                 size_t rows) override;
  void fill_zero(void* dst, size_t bytes) override;
  void synchronize() override;
  MemoryStatistics memory() const override;
  void reset_peak() override;
  double peak_flops(DType dtype) const override;

  Stream stream() const { return stream_; }
  int ordinal() const { return ordinal_; }
  // The GPU's own name, the same from every process: 32 hexadecimal digits.
  std::string uuid() const;

 private:
  class Staging;
  int ordinal_;
  Stream stream_ = nullptr;
  std::unique_ptr<Staging> staging_;
  mutable std::mutex mutex_;  // statistics
  MemoryStatistics statistics_;
};

// The stream of a device of kind cuda.
Stream stream_of(const Device& device);

}  // namespace elastron::cuda

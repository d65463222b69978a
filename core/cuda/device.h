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
#include "core/recorded_work.h"

namespace elastron {
class RecordedMemory;
}

namespace elastron::cuda {

// GPUs that this process could use; 0 without a driver. `why` (may be null) then says what is
// missing. Never throws.
int device_count(std::string* why = nullptr);

class CudaDevice final : public Device, public RecordingDevice {
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
  // By a CUDA graph; not where ELASTRON_CUDA_GRAPHS is 0. Where capturing fails a warning says why,
  // once.
  std::unique_ptr<RecordedWork> record(const std::function<void()>& issue) override;
  MemoryStatistics memory() const override;
  void reset_peak() override;
  double peak_flops(DType dtype) const override;

  Stream stream() const { return stream_; }
  int ordinal() const { return ordinal_; }
  // The GPU's own name, the same from every process: 32 hexadecimal digits.
  std::string uuid() const;

 private:
  friend class Graph;
  class Staging;
  // Nothing of the host can be part of what is recorded.
  void check_not_capturing(const char* operation) const;
  int ordinal_;
  Stream stream_ = nullptr;
  std::unique_ptr<Staging> staging_;
  // While work is recorded: whose memory tensors get, and whether it is captured or done.
  RecordedMemory* recorded_memory_ = nullptr;
  bool capturing_ = false;
  mutable std::mutex mutex_;  // statistics and the memory of what is recorded
  MemoryStatistics statistics_;
};

// The stream of a device of kind cuda.
Stream stream_of(const Device& device);

}  // namespace elastron::cuda

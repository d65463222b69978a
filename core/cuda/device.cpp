#include "core/cuda/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>

#include "core/cuda/block_size.h"
#include "core/cuda/gpus.h"
#include "core/cuda/status.h"
#include "core/error.h"
#include "core/recorded_memory.h"

namespace elastron::cuda {

namespace {

constexpr int kOldest = 80;  // compute capability x 10

}  // namespace

void check(cudaError_t status, const char* operation) {
  if (status == cudaSuccess) return;
  const std::string text =
      fmt::format("{}: {} ({})", operation, cudaGetErrorString(status), cudaGetErrorName(status));
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorECCUncorrectable:
    case cudaErrorDevicesUnavailable:
      throw CommunicationError(text, "GPU",
                               "run under compute-sanitizer, or see the driver's log (dmesg)");
    default: throw LogicError(text);
  }
}

int device_count(std::string* why) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  if (status != cudaSuccess) static_cast<void>(cudaGetLastError());  // forget it
  if (why != nullptr) {
    *why = status == cudaSuccess || status == cudaErrorNoDevice ? "no GPU is visible"
           : status == cudaErrorInsufficientDriver
               ? "no NVIDIA driver, or one older than this build's CUDA"
               : cudaGetErrorString(status);
  }
  return 0;
}

// Two pinned buffers in turns: one is copied by the host while the GPU's copy engine has the other.
class CudaDevice::Staging {
 public:
  Staging() {
    for (Slot& s : slots_) {
      check(cudaMallocHost(&s.memory, kBytes), "cudaMallocHost");
      check(cudaEventCreateWithFlags(&s.done, cudaEventDisableTiming), "cudaEventCreate");
    }
  }
  ~Staging() {
    for (Slot& s : slots_) {
      if (s.done != nullptr) cudaEventDestroy(s.done);
      if (s.memory != nullptr) cudaFreeHost(s.memory);
    }
  }

  void to_device(char* dst, const char* src, size_t bytes, Stream stream) {
    const std::lock_guard lock(mutex_);
    while (bytes > 0) {
      Slot& slot = next();
      // Small pieces share a slot, so that a step's many small arrays do not wait for each other.
      const size_t n = std::min(bytes, kBytes - slot.used);
      char* part = static_cast<char*>(slot.memory) + slot.used;
      std::memcpy(part, src, n);
      check(cudaMemcpyAsync(dst, part, n, cudaMemcpyHostToDevice, stream), "copy to the GPU");
      check(cudaEventRecord(slot.done, stream), "cudaEventRecord");
      slot.used = std::min(kBytes, (slot.used + n + kGranule - 1) / kGranule * kGranule);
      dst += n;
      src += n;
      bytes -= n;
    }
  }

  void to_host(char* dst, const char* src, size_t bytes, Stream stream) {
    const std::lock_guard lock(mutex_);
    size_t sizes[2] = {0, 0};
    // Begins piece i in slot i % 2, then takes piece i - 1 out of the other.
    for (size_t i = 0, begun = 0, taken = 0; taken < bytes; ++i) {
      if (begun < bytes) {
        Slot& slot = slots_[i % 2];
        check(cudaEventSynchronize(slot.done), "wait for the GPU");
        slot.used = kBytes;
        sizes[i % 2] = std::min(kBytes, bytes - begun);
        check(
            cudaMemcpyAsync(slot.memory, src + begun, sizes[i % 2], cudaMemcpyDeviceToHost, stream),
            "copy from the GPU");
        check(cudaEventRecord(slot.done, stream), "cudaEventRecord");
        begun += sizes[i % 2];
      }
      if (i == 0) continue;
      Slot& slot = slots_[(i - 1) % 2];
      check(cudaEventSynchronize(slot.done), "wait for the GPU");
      std::memcpy(dst + taken, slot.memory, sizes[(i - 1) % 2]);
      taken += sizes[(i - 1) % 2];
    }
  }

 private:
  static constexpr size_t kBytes = size_t(8) << 20;
  struct Slot {
    void* memory = nullptr;
    cudaEvent_t done = nullptr;  // of the last copy that uses it
    size_t used = 0;
  };

  // A slot with room.
  Slot& next() {
    if (slots_[at_].used < kBytes) return slots_[at_];
    at_ = 1 - at_;
    check(cudaEventSynchronize(slots_[at_].done), "wait for the GPU");
    slots_[at_].used = 0;
    return slots_[at_];
  }

  std::mutex mutex_;
  Slot slots_[2];
  size_t at_ = 0;
};

CudaDevice::CudaDevice(int ordinal) : ordinal_(ordinal) {
  std::string why;
  const int count = device_count(&why);
  if (ordinal < 0 || ordinal >= count) {
    throw UsageError(count == 0 ? why : fmt::format("there is no GPU {}", ordinal), "device",
                     "set device: cpu, or see nvidia-smi and CUDA_VISIBLE_DEVICES");
  }
  check(cudaSetDevice(ordinal), "cudaSetDevice");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  if (properties.major * 10 + properties.minor < kOldest) {
    throw UsageError(fmt::format("{} has compute capability {}.{}; 8.0 is the least",
                                 properties.name, properties.major, properties.minor),
                     "device", "use an Ampere GPU or newer, or set device: cpu");
  }
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  // Memory that tensors give back stays with the process.
  cudaMemPool_t pool = nullptr;
  check(cudaDeviceGetDefaultMemPool(&pool, ordinal), "cudaDeviceGetDefaultMemPool");
  uint64_t threshold = ~uint64_t(0);
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold),
        "cudaMemPoolSetAttribute");
  staging_ = std::make_unique<Staging>();
}

CudaDevice::~CudaDevice() {
  if (std::uncaught_exceptions() > 0) {
    // Work may be under way that never ends, such as a collective without its other ranks, and
    // giving pinned memory back waits for it. The process is about to go.
    static_cast<void>(staging_.release());
    return;
  }
  cudaStreamSynchronize(stream_);
  staging_.reset();
  cudaStreamDestroy(stream_);
}

std::string CudaDevice::uuid() const { return gpu_uuid(ordinal_); }

std::string CudaDevice::description() const {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0;
  check(cudaGetDeviceProperties(&properties, ordinal_), "cudaGetDeviceProperties");
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  return fmt::format("cuda:{} {} (sm_{}{}, {} SMs, {:.1f} GiB), CUDA {}.{}, driver {}.{}", ordinal_,
                     properties.name, properties.major, properties.minor,
                     properties.multiProcessorCount, double(properties.totalGlobalMem) / (1 << 30),
                     runtime / 1000, runtime % 1000 / 10, driver / 1000, driver % 1000 / 10);
}

double CudaDevice::peak_flops(DType dtype) const {
  cudaDeviceProp properties{};
  int kilohertz = 0;
  check(cudaGetDeviceProperties(&properties, ordinal_), "cudaGetDeviceProperties");
  check(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, ordinal_),
        "cudaDeviceGetAttribute");
  // Of a multiprocessor in a clock. Float32 does not use tensor cores here.
  double each = 0;
  switch (properties.major * 10 + properties.minor) {
    case 80: each = dtype == DType::bf16 ? 2048 : 128; break;
    case 90: each = dtype == DType::bf16 ? 4096 : 256; break;
    case 100: each = dtype == DType::bf16 ? 8192 : 256; break;
    default: return 0;
  }
  if (dtype != DType::bf16 && dtype != DType::f32) return 0;
  return each * properties.multiProcessorCount * 1e3 * kilohertz;
}

void* CudaDevice::allocate(size_t bytes) {
  const size_t size = block_size(bytes);
  const std::lock_guard lock(mutex_);
  if (recorded_memory_ != nullptr) {
    if (void* again = recorded_memory_->take(size)) return again;
    ELASTRON_CHECK(!capturing_, "work that is recorded asks for more memory the second time");
  }
  void* block = nullptr;
  const cudaError_t status = cudaMallocAsync(&block, size, stream_);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // forget it
    size_t free = 0, total = 0;
    static_cast<void>(cudaMemGetInfo(&free, &total));
    constexpr double kGiB = double(1 << 30);
    throw UsageError(fmt::format("out of GPU memory: {:.3f} GiB asked, {:.2f} GiB held by tensors "
                                 "(at most {:.2f}), {:.2f} of {:.2f} GiB free",
                                 double(size) / kGiB, double(statistics_.in_use_bytes) / kGiB,
                                 double(statistics_.peak_bytes) / kGiB, double(free) / kGiB,
                                 double(total) / kGiB),
                     fmt::format("device cuda:{}", ordinal_), advice_when_full());
  }
  check(status, "cudaMallocAsync");
  ++statistics_.system_allocations;
  statistics_.in_use_bytes += int64_t(size);
  statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.in_use_bytes);
  statistics_.reserved_bytes = std::max(statistics_.reserved_bytes, statistics_.in_use_bytes);
  if (recorded_memory_ != nullptr) recorded_memory_->add(block, size);
  return block;
}

void CudaDevice::release(void* block, size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  if (recorded_memory_ != nullptr && recorded_memory_->give_back(block)) return;
  cudaFreeAsync(block, stream_);
  statistics_.in_use_bytes -= int64_t(block_size(bytes));
}

void CudaDevice::check_not_capturing(const char* operation) const {
  ELASTRON_CHECK(!capturing_, std::string(operation) + " in work that is recorded");
}

void CudaDevice::copy_from_host(void* dst, const void* src, size_t bytes) {
  check_not_capturing("a copy from the host");
  staging_->to_device(static_cast<char*>(dst), static_cast<const char*>(src), bytes, stream_);
}

void CudaDevice::copy_to_host(void* dst, const void* src, size_t bytes) {
  check_not_capturing("a copy to the host");
  staging_->to_host(static_cast<char*>(dst), static_cast<const char*>(src), bytes, stream_);
}

void CudaDevice::copy(void* dst, const void* src, size_t bytes) {
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream_), "copy on the GPU");
}

void CudaDevice::copy_rows(void* dst, size_t dst_stride, const void* src, size_t src_stride,
                           size_t row_bytes, size_t rows) {
  check(cudaMemcpy2DAsync(dst, dst_stride, src, src_stride, row_bytes, rows,
                          cudaMemcpyDeviceToDevice, stream_),
        "copy rows on the GPU");
}

void CudaDevice::fill_zero(void* dst, size_t bytes) {
  check(cudaMemsetAsync(dst, 0, bytes, stream_), "clear memory on the GPU");
}

void CudaDevice::synchronize() {
  check_not_capturing("a wait");
  check(cudaStreamSynchronize(stream_), "wait for the GPU");
}

MemoryStatistics CudaDevice::memory() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

void CudaDevice::reset_peak() {
  const std::lock_guard lock(mutex_);
  statistics_.peak_bytes = statistics_.in_use_bytes;
}

Stream stream_of(const Device& device) {
  ELASTRON_CHECK(device.kind() == DeviceKind::cuda, "stream_of() a device that has none");
  return static_cast<const CudaDevice&>(device).stream();
}

}  // namespace elastron::cuda

// A device that stands for another one and computes nothing. The code of a training step runs on it
// with its real shapes: what is allocated is counted as the other device would count it, and each
// op writes down what it costs (ops/backend.h) instead of computing. So a plan is what runs.
//
// What is written down is sorted by the ranges of core/trace.h that the thread is in: a tree, in
// which all layers share a node.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/recorded_work.h"
#include "core/trace.h"

namespace elastron {

class RecordedMemory;

// The resource that limits an op, and so the rate of a device by which its time is estimated.
enum class WorkKind : uint8_t {
  products,            // of matrices
  attention_both,      // forward, both branches
  attention_selected,  // forward, the branch that the gates select
  attention_backward,  // of the selected branch
  block_choice,        // of a sparse pattern that looks at its input
  memory,              // what only goes through memory
};

// The cost of one call of an op.
struct OpCost {
  const char* name = "";  // a literal
  WorkKind kind = WorkKind::memory;
  double flops = 0;      // of products and attention; a multiply-add is two
  double bytes = 0;      // read and written
  int64_t launches = 1;  // of kernels, where the device is a GPU
};

struct OpRecord {
  OpCost sum;  // of all calls
  int64_t calls = 0;
};

// Everything one range saw, without the ranges within it.
struct RangeRecord {
  std::string name;
  int64_t calls = 0;  // ranges that had anything to write down
  std::vector<OpRecord> ops;
  int64_t copies = 0, copied_bytes = 0;  // from and to the host, within the device, and clearing
  int64_t host_waits = 0;
  int64_t allocations = 0;
  int64_t live_bytes = 0, most_live_bytes = 0;  // of what was allocated here
  int64_t peak_bytes = 0;                       // that the whole device held meanwhile, at most
  std::vector<size_t> children;                 // indices of MetaDevice::ranges()
};

class MetaDevice final : public Device, public RecordingDevice {
 public:
  // `as`: cpu or cuda.
  explicit MetaDevice(DeviceKind as);

  DeviceKind kind() const override { return DeviceKind::meta; }
  DeviceKind behaves_as() const override { return as_; }
  std::string description() const override;
  // Addresses that no process may read or write, aligned as those of the device it stands for.
  void* allocate(size_t bytes) override;
  void release(void* block, size_t bytes) noexcept override;
  void copy_from_host(void* dst, const void* src, size_t bytes) override;
  void copy_to_host(void* dst, const void* src, size_t bytes) override;  // zeros
  // A copy to the host that nobody waits for yet; who does says so by synchronize().
  void begin_copy_to_host(size_t bytes);
  void copy(void* dst, const void* src, size_t bytes) override;
  void copy_rows(void* dst, size_t dst_stride, const void* src, size_t src_stride, size_t row_bytes,
                 size_t rows) override;
  void fill_zero(void* dst, size_t bytes) override;
  void synchronize() override;
  MemoryStatistics memory() const override { return statistics_; }
  void reset_peak() override;

  void record(const OpCost& cost);
  // As a GPU records: the work is asked for twice, done and captured, and holds its memory. Doing it
  // again is one launch, and what the device does by itself then is not written down. Throws
  // LogicError where a GPU could not capture the work. Null on what stands for a CPU.
  std::unique_ptr<RecordedWork> record(const std::function<void()>& issue) override;

  // The first one is outside of all ranges; its children are the outermost.
  const std::vector<RangeRecord>& ranges() const { return ranges_; }
  // Forgets what was written down; what is allocated stays counted, where it was allocated.
  void clear_records();

 private:
  class Recorded;
  size_t block_size(size_t bytes) const;
  // Nothing of the host can be part of what is recorded.
  void check_not_capturing(const char* operation) const;
  size_t place();
  RangeRecord& here() { return ranges_[place()]; }
  void note_copy(size_t bytes);

  DeviceKind as_;
  MemoryStatistics statistics_;
  std::vector<RangeRecord> ranges_;
  std::vector<uint64_t> last_serial_;  // of each range: its last call
  std::vector<uint32_t> owners_;       // of each block: the range that allocated it
  // While work is recorded: whose memory tensors get, and whether it is captured or done.
  RecordedMemory* recorded_memory_ = nullptr;
  bool capturing_ = false;
  // The place that was looked up last.
  const TraceRange* known_range_ = nullptr;
  uint64_t known_serial_ = 0;
  size_t known_place_ = 0;
};

}  // namespace elastron

#include "core/meta_device.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/cuda/block_size.h"
#include "core/error.h"
#include "core/recorded_memory.h"

namespace elastron {

namespace {

// x86-64 and AArch64 have no addresses between those of processes and those of the kernel. Each
// block begins a stride further, so that its address tells its number.
constexpr uintptr_t kFirstAddress = uintptr_t(1) << 47;
constexpr int kStrideBits = 38;

}  // namespace

MetaDevice::MetaDevice(DeviceKind as) : as_(as), ranges_(1), last_serial_(1) {
  ELASTRON_CHECK(as != DeviceKind::meta, "a meta device stands for one that computes");
}

std::string MetaDevice::description() const {
  return as_ == DeviceKind::cpu ? "meta, as a cpu" : "meta, as a GPU";
}

size_t MetaDevice::block_size(size_t bytes) const {
  return as_ == DeviceKind::cpu ? CpuDevice::size_class(bytes) : cuda::block_size(bytes);
}

// The thread's ranges are nearly always those of the last call.
size_t MetaDevice::place() {
  const TraceRange* range = TraceRange::innermost();
  if (range == nullptr) return 0;
  if (range == known_range_ && range->serial() == known_serial_) return known_place_;
  std::vector<const TraceRange*> path;
  for (const TraceRange* r = range; r != nullptr; r = r->outer()) path.push_back(r);
  size_t at = 0;
  for (size_t i = path.size(); i-- > 0;) {
    const auto& children = ranges_[at].children;
    const auto found = std::ranges::find_if(children, [&](size_t child) {
      return std::string_view(ranges_[child].name) == path[i]->name();
    });
    if (found != children.end()) {
      at = *found;
    } else {
      const size_t added = ranges_.size();
      ranges_.push_back({.name = path[i]->name(), .ops = {}, .children = {}});
      last_serial_.push_back(0);
      ranges_[at].children.push_back(added);
      at = added;
    }
    if (last_serial_[at] == path[i]->serial()) continue;
    last_serial_[at] = path[i]->serial();
    ++ranges_[at].calls;
  }
  known_range_ = range;
  known_serial_ = range->serial();
  known_place_ = at;
  return at;
}

void* MetaDevice::allocate(size_t bytes) {
  const auto size = int64_t(block_size(bytes));
  if (recorded_memory_ != nullptr) {
    if (void* again = recorded_memory_->take(size_t(size))) return again;
    ELASTRON_CHECK(!capturing_, "work that is recorded asks for more memory the second time");
  }
  const size_t at = place();
  statistics_.in_use_bytes += size;
  statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.in_use_bytes);
  RangeRecord& range = ranges_[at];
  ++range.allocations;
  range.live_bytes += size;
  range.most_live_bytes = std::max(range.most_live_bytes, range.live_bytes);
  range.peak_bytes = std::max(range.peak_bytes, statistics_.in_use_bytes);
  const uintptr_t number = owners_.size();
  owners_.push_back(uint32_t(at));
  void* block = reinterpret_cast<void*>(kFirstAddress + (number << kStrideBits));
  if (recorded_memory_ != nullptr) recorded_memory_->add(block, size_t(size));
  return block;
}

void MetaDevice::release(void* block, size_t bytes) noexcept {
  if (recorded_memory_ != nullptr && recorded_memory_->give_back(block)) return;
  const auto size = int64_t(block_size(bytes));
  const uintptr_t number = (reinterpret_cast<uintptr_t>(block) - kFirstAddress) >> kStrideBits;
  statistics_.in_use_bytes -= size;
  ranges_[owners_[number]].live_bytes -= size;
}

void MetaDevice::note_copy(size_t bytes) {
  RangeRecord& range = here();
  ++range.copies;
  range.copied_bytes += int64_t(bytes);
}

void MetaDevice::check_not_capturing(const char* operation) const {
  ELASTRON_CHECK(!capturing_, std::string(operation) + " in work that is recorded");
}

void MetaDevice::copy_from_host(void*, const void*, size_t bytes) {
  check_not_capturing("a copy from the host");
  note_copy(bytes);
}
void MetaDevice::copy_to_host(void* dst, const void*, size_t bytes) {
  std::memset(dst, 0, bytes);
  begin_copy_to_host(bytes);
  synchronize();
}
void MetaDevice::begin_copy_to_host(size_t bytes) {
  check_not_capturing("a copy to the host");
  note_copy(bytes);
}
void MetaDevice::copy(void*, const void*, size_t bytes) { note_copy(2 * bytes); }
void MetaDevice::copy_rows(void*, size_t, const void*, size_t, size_t row_bytes, size_t rows) {
  note_copy(2 * row_bytes * rows);
}
void MetaDevice::fill_zero(void*, size_t bytes) { note_copy(bytes); }
void MetaDevice::synchronize() {
  check_not_capturing("a wait");
  ++here().host_waits;
}

void MetaDevice::reset_peak() {
  statistics_.peak_bytes = statistics_.in_use_bytes;
  for (RangeRecord& range : ranges_) {
    range.most_live_bytes = range.live_bytes;
    range.peak_bytes = 0;
  }
}

void MetaDevice::clear_records() {
  for (RangeRecord& range : ranges_) {
    range.calls = range.copies = range.copied_bytes = 0;
    range.host_waits = range.allocations = 0;
    range.ops.clear();
  }
  std::ranges::fill(last_serial_, 0);
  known_range_ = nullptr;
}

void MetaDevice::record(const OpCost& cost) {
  auto& ops = here().ops;
  auto found = std::ranges::find_if(ops, [&](const OpRecord& op) {
    return op.sum.kind == cost.kind &&
           (op.sum.name == cost.name || std::string_view(op.sum.name) == cost.name);
  });
  if (found == ops.end()) {
    ops.push_back({.sum = {.name = cost.name, .kind = cost.kind, .launches = 0}});
    found = ops.end() - 1;
  }
  found->sum.flops += cost.flops;
  found->sum.bytes += cost.bytes;
  found->sum.launches += as_ == DeviceKind::cuda ? cost.launches : 0;
  ++found->calls;
}

// What core/cuda/graph.cpp does, without a graph.
class MetaDevice::Recorded final : public RecordedWork {
 public:
  explicit Recorded(MetaDevice& device) : device_(device) {}
  ~Recorded() override {
    for (const RecordedMemory::Block& block : memory_.blocks()) {
      if (block.free) device_.release(block.begin, block.bytes);  // others have a tensor yet
    }
  }

  void run() override { device_.record(OpCost{.name = "recorded work"}); }

  void see(const std::function<void()>& issue, bool captured) {
    ELASTRON_CHECK(device_.recorded_memory_ == nullptr, "work is recorded within recorded work");
    struct Recording {
      MetaDevice& device;
      ~Recording() {
        device.recorded_memory_ = nullptr;
        device.capturing_ = false;
      }
    } const recording{device_};
    device_.recorded_memory_ = &memory_;
    device_.capturing_ = captured;
    issue();
    ELASTRON_CHECK(memory_.all_free(), "work that is recorded keeps memory");
  }

 private:
  MetaDevice& device_;
  RecordedMemory memory_;
};

std::unique_ptr<RecordedWork> MetaDevice::record(const std::function<void()>& issue) {
  if (as_ != DeviceKind::cuda) {
    issue();
    return nullptr;
  }
  auto work = std::make_unique<Recorded>(*this);
  work->see(issue, /*captured=*/false);
  work->see(issue, /*captured=*/true);
  return work;
}

}  // namespace elastron

#include "tests/support/cuda_emulator/memory.h"

#include <cuda_runtime.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <map>
#include <string>

#include "tests/support/cuda_emulator/scheduler.h"
#include "tests/support/cuda_emulator/stream.h"

namespace elastron::emulator {

namespace {

const size_t kPage = size_t(sysconf(_SC_PAGESIZE));

// What may be done to a page at the moment. Memory begins as NaN: pages are filled when they are
// first opened.
enum class Door : uint8_t { never_opened, closed, readable, writable };

// Memory of the device, closed but for the pages that the work under way touches; or pinned memory
// of the host, open but for the pages that work was given which the host has not waited for.
struct Block {
  char* mapping = nullptr;
  size_t mapped = 0;
  char* begin = nullptr;
  size_t bytes = 0;
  bool pinned = false;
  History history;
  std::vector<Door> pages;

  char* page(size_t i) const { return mapping + i * kPage; }
  size_t page_of(const void* p) const {
    return size_t(static_cast<const char*>(p) - mapping) / kPage;
  }
  void set(size_t first, size_t past, Door door) {
    const int flags = door == Door::writable   ? PROT_READ | PROT_WRITE
                      : door == Door::readable ? PROT_READ
                                               : PROT_NONE;
    if (mprotect(page(first), (past - first) * kPage, flags) != 0) die("mprotect");
    std::fill(pages.begin() + ptrdiff_t(first), pages.begin() + ptrdiff_t(past), door);
  }
  void fill_new(size_t first, size_t past) {
    for (size_t i = first; i < past; ++i) {
      if (pages[i] != Door::never_opened) continue;
      set(i, i + 1, Door::writable);
      std::memset(page(i), 0xff, kPage);
    }
  }
};
std::map<char*, Block> blocks;  // by their mapping
size_t held = 0;                // of the device

Block* block_of(const void* p) {
  char* address = static_cast<char*>(const_cast<void*>(p));
  auto after = blocks.upper_bound(address);
  if (after == blocks.begin()) return nullptr;
  Block& block = std::prev(after)->second;
  return address < block.mapping + block.pages.size() * kPage ? &block : nullptr;
}

// --- The work under way

const Work* under_way = nullptr;
struct Opened {
  Block* block;
  size_t page;
};
std::vector<Opened> opened;

struct sigaction before_us;

[[noreturn]] void out_of_order(const std::string& what) {
  die(("streams out of order: " + what).c_str());
}

// A page that is closed was touched. False: it is none of ours, or may not be.
bool open_touched(char* address) {
  Block* block = block_of(address);
  if (block == nullptr) return false;
  const size_t i = block->page_of(address);
  const bool second = block->pages[i] == Door::readable;
  if (block->pages[i] == Door::writable) return false;
  if (block->pinned) {
    const std::string wrong = block->history.host_touch(
        uintptr_t(address), second ? Access::write : Access::read, host_clock());
    if (!wrong.empty()) out_of_order(wrong + " (pinned memory)");
  } else if (under_way == nullptr || under_way->touched) {
    std::fprintf(stderr, "cuda emulator: %s touches memory of the device\n",
                 under_way == nullptr ? "the host" : under_way->name.str().c_str());
    return false;
  } else if (!second) {
    block->fill_new(i, i + 1);
    opened.push_back({block, i});
  }
  // A write asks twice: which kind of access it is the processor's own affair to say.
  block->set(i, i + 1, second ? Door::writable : Door::readable);
  return true;
}

void on_fault(int, siginfo_t* info, void*) {
  if (!open_touched(static_cast<char*>(info->si_addr))) sigaction(SIGSEGV, &before_us, nullptr);
}

// Whoever came later may have taken our place.
void see_faults() {
  struct sigaction mine {};
  mine.sa_sigaction = on_fault;
  mine.sa_flags = SA_SIGINFO;
  sigemptyset(&mine.sa_mask);
  struct sigaction present {};
  sigaction(SIGSEGV, nullptr, &present);
  if ((present.sa_flags & SA_SIGINFO) != 0 && present.sa_sigaction == on_fault) return;
  sigaction(SIGSEGV, &mine, &before_us);
}

void note(Block& block, const char* begin, const char* end, Access access, const Moment& moment,
          const Clock& clock) {
  begin = std::max<const char*>(begin, block.begin);
  end = std::min<const char*>(end, block.begin + block.bytes);
  if (begin >= end) return;
  const std::string wrong =
      block.history.touch(uintptr_t(begin), size_t(end - begin), access, moment, clock);
  if (!wrong.empty()) out_of_order(wrong);
}

// Pages that were found to be touched are closed again, and noted.
void close_pages(const Moment& moment, const Clock& clock) {
  std::ranges::sort(opened, {}, [](const Opened& o) { return o.block->page(o.page); });
  for (size_t i = 0, next = 0; i < opened.size(); i = next) {
    Block& block = *opened[i].block;
    const size_t first = opened[i].page;
    const Door door = block.pages[first];
    for (next = i;
         next < opened.size() && opened[next].block == &block &&
         opened[next].page == first + (next - i) && block.pages[opened[next].page] == door;
         ++next) {
    }
    const size_t past = first + (next - i);
    block.set(first, past, Door::closed);
    note(block, block.page(first), block.page(past),
         door == Door::writable ? Access::write : Access::read, moment, clock);
  }
  opened.clear();
}

// Bytes that work says it touches, while it runs and after it.
void open_bytes(const Bytes& bytes) {
  Block* block = block_of(bytes.begin);
  if (block == nullptr || bytes.count == 0) return;
  const size_t first = block->page_of(bytes.begin), past = block->page_of(bytes.last()) + 1;
  if (past > block->pages.size()) die("work touches bytes behind a block");
  if (block->pinned) {
    if (mprotect(block->page(first), (past - first) * kPage, PROT_READ | PROT_WRITE) != 0) {
      die("mprotect");
    }
    return;
  }
  block->fill_new(first, past);
  block->set(first, past, Door::writable);
}

void close_bytes(const Bytes& bytes, const Moment& moment, const Clock& clock) {
  Block* block = block_of(bytes.begin);
  if (block == nullptr || bytes.count == 0) return;
  const char* begin = static_cast<const char*>(bytes.begin);
  const size_t first = block->page_of(begin), past = block->page_of(bytes.last()) + 1;
  const Door after = !block->pinned || bytes.written ? Door::closed : Door::readable;
  for (size_t i = first; i < past; ++i) block->set(i, i + 1, std::min(block->pages[i], after));
  for (size_t row = 0; row < bytes.rows; ++row) {
    const char* at = begin + row * bytes.stride;
    note(*block, at, at + bytes.count, bytes.written ? Access::write : Access::read, moment, clock);
  }
}

Block& new_block(size_t bytes, bool pinned, const Moment& made) {
  const size_t data = (bytes + kPage - 1) / kPage * kPage;
  void* m = mmap(nullptr, data + kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) die("mmap");
  char* mapping = static_cast<char*>(m);
  // It ends where nobody may touch anything.
  char* begin = pinned ? mapping : mapping + data - bytes;
  Block block{.mapping = mapping,
              .mapped = data + kPage,
              .begin = begin,
              .bytes = bytes,
              .pinned = pinned,
              .history = History(uintptr_t(begin), bytes, made),
              .pages = std::vector<Door>(data / kPage, Door::never_opened)};
  see_faults();
  return blocks.emplace(mapping, std::move(block)).first->second;
}

Block& whole_block(const void* p) {
  Block* block = block_of(p);
  if (block == nullptr || block->begin != p) die("memory is given back that was never given");
  return *block;
}

void unmap(const Block& block) {
  munmap(block.mapping, block.mapped);
  blocks.erase(block.mapping);
}

// No stream is one of its own: number 0.
CUstream_st& known(CUstream_st* stream) {
  static CUstream_st none;
  return stream == nullptr ? none : *stream;
}

Clock& clock_of(CUstream_st* stream) {
  Clock& clock = known(stream).clock;
  clock.join(host_clock());
  return clock;
}

Moment next_of(CUstream_st* stream, const Name& name) {
  return clock_of(stream).next(known(stream).number, name);
}

}  // namespace

Clock& host_clock() {
  static Clock clock;
  return clock;
}

void perform(CUstream_st* stream, const Work& work) {
  if (under_way != nullptr) die("work is issued by other work");
  see_faults();
  const Moment moment = next_of(stream, work.name);
  const Clock& clock = clock_of(stream);
  struct UnderWay {
    explicit UnderWay(const Work& w) { under_way = &w; }
    ~UnderWay() { under_way = nullptr; }
  } const guard(work);
  if (!work.touched) {
    work.run();
    close_pages(moment, clock);
    return;
  }
  for (const Bytes& bytes : *work.touched) open_bytes(bytes);
  work.run();
  // What it reads must be there whatever it writes.
  for (const bool written : {false, true}) {
    for (const Bytes& bytes : *work.touched) {
      if (bytes.written == written) close_bytes(bytes, moment, clock);
    }
  }
}

}  // namespace elastron::emulator

// --- The runtime's calls

using namespace elastron::emulator;

cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t stream) {
  // Its captures know no memory of graphs.
  if (stream != nullptr && stream->capture != nullptr) {
    stream->capture->valid = false;
    return cudaErrorStreamCaptureUnsupported;
  }
  ++calls().allocations;
  if (held + bytes > kDeviceMemory) return cudaErrorMemoryAllocation;
  held += bytes;
  *p = new_block(bytes, /*pinned=*/false, next_of(stream, {"an allocation"})).begin;
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  if (stream != nullptr && stream->capture != nullptr) {
    stream->capture->valid = false;
    return cudaErrorStreamCaptureUnsupported;
  }
  Block& block = whole_block(p);
  const Moment moment = next_of(stream, {"giving it back"});
  note(block, block.begin, block.begin + block.bytes, Access::write, moment, clock_of(stream));
  held -= block.bytes;
  unmap(block);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  Block& block = new_block(bytes, /*pinned=*/true, {});
  block.set(0, block.pages.size(), Door::writable);
  *p = block.begin;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) {
  unmap(whole_block(p));
  return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  *pool = nullptr;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = kDeviceMemory;
  *free = kDeviceMemory - held;
  return cudaSuccess;
}

#include "tests/support/cuda_emulator/stream_order.h"

#include <algorithm>

#include "tests/support/cuda_emulator/function_name.h"

namespace elastron::emulator {

std::string Name::str() const { return text != nullptr ? text : function_name(kernel); }

void Clock::join(const Clock& other) {
  if (times_.size() < other.times_.size()) times_.resize(other.times_.size());
  for (size_t i = 0; i < other.times_.size(); ++i) times_[i] = std::max(times_[i], other.times_[i]);
}

Moment Clock::next(int stream, const Name& name) {
  if (times_.size() <= size_t(stream)) times_.resize(size_t(stream) + 1);
  return {stream, ++times_[size_t(stream)], name};
}

bool Clock::has_seen(const Moment& moment) const {
  if (moment.time == 0) return true;
  return size_t(moment.stream) < times_.size() && times_[size_t(moment.stream)] >= moment.time;
}

History::History(uintptr_t begin, size_t bytes, const Moment& made) : begin_(begin) {
  cells_[begin] = {begin + bytes, made, {}};
}

void History::split_at(uintptr_t address) {
  auto cell = std::prev(cells_.upper_bound(address));
  if (cell->first == address || address >= cell->second.end) return;
  Cell behind = cell->second;
  cell->second.end = address;
  cells_.emplace(address, std::move(behind));
}

std::string History::fault(const Cell& cell, Access access, const Moment& moment,
                           const Clock& clock) {
  const auto unordered = [&](const Moment& other, const char* did) {
    const auto place = [](const Moment& m) {
      return m.stream < 0 ? std::string("the host")
                          : m.name.str() + " on stream " + std::to_string(m.stream);
    };
    return place(moment) + (access == Access::write ? " writes" : " reads") + " what " +
           place(other) + did + ", and no event orders them";
  };
  if (!clock.has_seen(cell.write)) return unordered(cell.write, " wrote");
  if (access == Access::read) return {};
  for (const Moment& read : cell.reads) {
    if (!clock.has_seen(read)) return unordered(read, " read");
  }
  return {};
}

std::string History::touch(uintptr_t begin, size_t bytes, Access access, const Moment& moment,
                           const Clock& clock) {
  if (bytes == 0) return {};
  split_at(begin);
  split_at(begin + bytes);
  const auto first = cells_.find(begin);
  auto cell = first;
  for (; cell != cells_.end() && cell->first < begin + bytes; ++cell) {
    if (std::string wrong = fault(cell->second, access, moment, clock); !wrong.empty()) {
      return wrong + " (" + std::to_string(cell->first - begin_) + " bytes into the block)";
    }
    if (access == Access::write) continue;
    auto& reads = cell->second.reads;
    std::erase_if(reads, [&](const Moment& read) { return read.stream == moment.stream; });
    reads.push_back(moment);
  }
  if (access == Access::write) {
    cells_.erase(first, cell);
    cells_[begin] = {begin + bytes, moment, {}};
  }
  return {};
}

std::string History::host_touch(uintptr_t address, Access access, const Clock& host) const {
  const auto after = cells_.upper_bound(address);
  if (after == cells_.begin()) return {};
  return fault(std::prev(after)->second, access, {.stream = -1}, host);
}

}  // namespace elastron::emulator

#include "core/recorded_memory.h"

#include <algorithm>

namespace elastron {

void* RecordedMemory::take(size_t bytes) {
  const auto block = std::ranges::find_if(
      blocks_, [&](const Block& candidate) { return candidate.free && candidate.bytes == bytes; });
  if (block == blocks_.end()) return nullptr;
  block->free = false;
  return block->begin;
}

void RecordedMemory::add(void* block, size_t bytes) { blocks_.push_back({block, bytes, false}); }

bool RecordedMemory::give_back(void* block) {
  const auto mine = std::ranges::find(blocks_, block, &Block::begin);
  if (mine == blocks_.end()) return false;
  mine->free = true;
  return true;
}

bool RecordedMemory::all_free() const { return std::ranges::all_of(blocks_, &Block::free); }

}  // namespace elastron

// The memory of work that is recorded: blocks that tensors give back to it, not to the driver, so
// that they are there, and nobody else's, each time the work is done. A block is given out again as
// soon as it is back, as all is work of one stream.
#pragma once
#include <cstddef>
#include <vector>

namespace elastron {

class RecordedMemory {
 public:
  struct Block {
    void* begin = nullptr;
    size_t bytes = 0;
    bool free = false;
  };

  // A free block of exactly that size; null: there is none.
  void* take(size_t bytes);
  // One more, which is in use.
  void add(void* block, size_t bytes);
  // False: it is none of these.
  bool give_back(void* block);

  const std::vector<Block>& blocks() const { return blocks_; }
  bool all_free() const;

 private:
  std::vector<Block> blocks_;
};

}  // namespace elastron

// The caches of sequences that are decoded side by side, each in a slot of its own. A GPU finds all
// of them by one table, whose place does not change: what was recorded for some sequences goes on
// for others.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "inference/sequence_cache.h"
#include "model/kv_cache.h"

namespace elastron::inference {

// `heads`: of some sequences, and where they stand on the device.
ops::CachedLayer cached_layer(const ops::PageShape& page, const Tensor& on_device,
                              std::span<const ops::CachedHead> heads, int64_t kv_heads);

class CacheBatch final : public model::KvBatch {
 public:
  // kv_heads, heads_over: of the sequences' caches (Engine::heads_over()). The pool must outlive it.
  CacheBatch(int64_t layers, int64_t kv_heads, int64_t slots, PagePool& pool,
             parallel::Communicator* heads_over = nullptr);

  int64_t slots() const { return slots_; }
  // A sequence that has read its prompt takes a slot; null: nobody has it, and what is decoded
  // there is written to a page that nobody reads. The sequence must stay as long as it has the
  // slot.
  void place(int64_t slot, const SequenceCache* sequence);
  // Brings the table to the device, where slots have changed. Before the next token.
  void send();

  // The most rows of any head, rounded up to a power of two: work that was recorded holds for the
  // same number.
  int64_t most_rows() const { return most_rows_; }
  const ops::CachedLayer& layer(int64_t layer) const override { return cached_[size_t(layer)]; }
  parallel::Communicator* heads_over() const override { return heads_over_; }

 private:
  int64_t kv_heads_, slots_;
  PagePool& pool_;
  parallel::Communicator* heads_over_;
  Tensor spare_page_, spare_list_;
  std::vector<ops::CachedHead> heads_;  // [layers, slots, kv_heads]
  Tensor table_;                        // the same on the device
  std::vector<ops::CachedLayer> cached_;
  int64_t most_rows_ = 0;
  bool changed_ = true;
};

}  // namespace elastron::inference

// Beginnings that several prompts share, with the gates and the keys and values that they were read
// to. A prefix is routed by itself, and what comes behind it is read as generated text is: with its
// gates. So what a prompt brings is the same whether its prefix is here or has to be read again.
#pragma once
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "inference/request.h"
#include "inference/sequence_cache.h"

namespace elastron::inference {

struct Prefix {
  Prefix(std::span<const int32_t> tokens, const CacheShape& shape, PagePool& pool)
      : ids(tokens.begin(), tokens.end()), cache(shape, pool) {}

  std::vector<int32_t> ids;
  SequenceCache cache;  // of these ids and no more
  PromptFigures figures;
};

class PrefixStore {
 public:
  explicit PrefixStore(int64_t most) : most_(most) {}

  // The one with exactly these ids, which from now on is the one used last; null: it is not here.
  std::shared_ptr<Prefix> find(std::span<const int32_t> ids);
  // Those used longest ago go where there are more than `most`: this one too, where that is 0.
  void add(std::shared_ptr<Prefix> prefix);
  // Without the one used longest ago but for `but`, if there is one.
  void drop_oldest(const Prefix* but);

  int64_t pages() const;  // that they hold

 private:
  int64_t most_;
  std::list<std::shared_ptr<Prefix>> kept_;  // used last first
};

}  // namespace elastron::inference

#include "inference/continuation.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "ops/linear.h"

namespace elastron::inference {

namespace {

// A CPU gives each row what it gets alone. A GPU's products may round by their number of rows, which
// is always this one.
constexpr int64_t kRows = ops::kRowsAlike;

// How many of the tokens from `position` on can be read together: those of a block, since a ring
// takes a new one's rows from the oldest, which the tokens before it may still see.
int64_t together(const CacheShape& shape, int64_t position, int64_t left) {
  const int64_t rows = std::min(kRows, left);
  if (shape.keep_all) return rows;
  return std::min(rows, shape.rule.block - position % shape.rule.block);
}

}  // namespace

Tensor read_behind(Engine& engine, const SequenceCache& cache, PagePool& pool,
                   std::span<const int32_t> ids, int64_t first) {
  const CacheShape& shape = cache.shape();
  ELASTRON_CHECK(!ids.empty() && first + int64_t(ids.size()) <= shape.most_tokens,
                 "more tokens than the cache has room for");
  CacheBatch rows(shape.layers, shape.kv_heads, kRows, pool, engine.heads_over());
  std::vector<int32_t> now(size_t(2 * kRows));  // ids, positions
  Tensor both = Tensor::empty({2, kRows}, DType::i32, engine.device());
  Tensor last;
  for (int64_t done = 0; done < int64_t(ids.size());) {
    const int64_t n = together(shape, first + done, int64_t(ids.size()) - done);
    std::ranges::fill(now, 0);
    for (int64_t i = 0; i < kRows; ++i) {
      rows.place(i, i < n ? &cache : nullptr);
      if (i >= n) continue;
      now[size_t(i)] = ids[size_t(done + i)];
      now[size_t(kRows + i)] = int32_t(first + done + i);
    }
    rows.send();
    engine.device().copy_from_host(both.raw(), now.data(), now.size() * sizeof(int32_t));
    const auto row = [&](int64_t i) { return both.slice(0, i, i + 1).view({kRows}); };
    const Tensor hidden = engine.decode(row(0), row(1), rows);
    done += n;
    if (done == int64_t(ids.size())) last = hidden.slice(0, n - 1, n).clone();
  }
  return last;
}

}  // namespace elastron::inference

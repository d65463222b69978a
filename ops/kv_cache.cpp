#include "ops/kv_cache.h"

#include <cstring>

#include "ops/backend.h"
#include "ops/cuda/attention/decode.h"

namespace elastron::ops {

void append_to_cache(const Tensor& k, const Tensor& v, const Tensor& first,
                     const CachedLayer& layer) {
  const PageShape& page = layer.page;
  ELASTRON_CHECK(k.rank() == 3 && k.size(1) == layer.kv_heads && k.size(2) == page.head_dim &&
                     k.size(0) % layer.sequences == 0 && k.dtype() == page.dtype,
                 "append_to_cache: keys of another model");
  check_same(k, v, "append_to_cache");
  check_dense("append_to_cache", k, v, first, layer.heads);
  check_shape(first, {layer.sequences}, "append_to_cache");
  const int64_t tokens = k.size(0) / layer.sequences;
  const int64_t row_bytes = page.head_dim * int64_t(dtype_size(k.dtype()));
  const auto* heads = static_cast<const CachedHead*>(layer.heads.raw());
  run_on(
      k.device(),
      [&] {
        const auto copy = [&](const Tensor& source, int64_t from, char* to) {
          std::memcpy(to, static_cast<const char*>(source.raw()) + from * row_bytes,
                      size_t(row_bytes));
        };
        for (int64_t h = 0; h < layer.sequences * layer.kv_heads; ++h) {
          const int64_t sequence = h / layer.kv_heads;
          const int64_t begin = first.data<int32_t>()[sequence], last = begin + tokens - 1;
          for (int64_t t = 0; t < tokens; ++t) {
            const int64_t row = heads[h].rows.row(begin + t, last);
            ELASTRON_CHECK(row < heads[h].room, "more tokens than the cache has room for");
            if (row < 0) continue;
            char* to =
                static_cast<char*>(heads[h].pages[row / page.rows]) + row % page.rows * row_bytes;
            const int64_t from = (sequence * tokens + t) * layer.kv_heads + h % layer.kv_heads;
            copy(k, from, to);
            copy(v, from, to + page.rows * row_bytes);
          }
        }
      },
      [&](auto stream) {
        cuda::append_to_cache(k.raw(), v.raw(), first.data<int32_t>(), heads, page.rows,
                              layer.sequences, tokens, layer.kv_heads, row_bytes, stream);
      },
      [&] {
        return OpCost{.name = "append_to_cache", .bytes = 2 * double(k.bytes() + v.bytes())};
      });
}

}  // namespace elastron::ops

#include "ops/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "ops/backend.h"
#include "ops/cuda/attention/decode.h"

namespace elastron::ops {

CachedLayer::CachedLayer(std::vector<CachedHead> heads) : heads_(std::move(heads)) {
  ELASTRON_CHECK(!heads_.empty(), "a layer has kv heads");
  const Tensor& first = heads_.front().k;
  std::vector<cuda::DecodeHead> there;
  for (const CachedHead& head : heads_) {
    ELASTRON_CHECK(
        head.k.rank() == 2 && head.k.size(1) == first.size(1) && head.k.dtype() == first.dtype(),
        "kv heads of different models");
    check_same(head.k, head.v, "a kv head's cache");
    check_dense("a kv head's cache", first, head.k, head.v);
    there.push_back({head.k.raw(), head.v.raw(), head.rows});
  }
  Device& device = first.device();
  if (device.behaves_as() == DeviceKind::cuda) {
    table_ = on_device(std::span<const cuda::DecodeHead>(there), device);
  }
}

void append_to_cache(const Tensor& k, const Tensor& v, const Tensor& first,
                     const CachedLayer& layer) {
  const auto& heads = layer.heads();
  ELASTRON_CHECK(k.rank() == 3 && k.size(1) == int64_t(heads.size()) &&
                     k.size(2) == heads.front().k.size(1) && k.dtype() == heads.front().k.dtype(),
                 "append_to_cache: keys of another model");
  check_same(k, v, "append_to_cache");
  check_dense("append_to_cache", k, v, first, heads.front().k);
  check_shape(first, {1}, "append_to_cache");
  const int64_t tokens = k.size(0), row_bytes = k.size(2) * int64_t(dtype_size(k.dtype()));
  run_on(
      k.device(),
      [&] {
        const int64_t begin = first.data<int32_t>()[0], last = begin + tokens - 1;
        for (size_t h = 0; h < heads.size(); ++h) {
          for (int64_t t = 0; t < tokens; ++t) {
            const int64_t row = heads[h].rows.row(begin + t, last);
            ELASTRON_CHECK(row < heads[h].k.size(0), "more tokens than the cache has room for");
            if (row < 0) continue;
            const int64_t from = (t * int64_t(heads.size()) + int64_t(h)) * row_bytes;
            for (const auto& [cache, source] : {std::pair{&heads[h].k, &k}, {&heads[h].v, &v}}) {
              std::memcpy(static_cast<char*>(cache->raw()) + row * row_bytes,
                          static_cast<const char*>(source->raw()) + from, size_t(row_bytes));
            }
          }
        }
      },
      [&](auto stream) {
        cuda::append_to_cache(k.raw(), v.raw(), first.data<int32_t>(),
                              static_cast<const cuda::DecodeHead*>(layer.table().raw()), tokens,
                              int64_t(heads.size()), row_bytes, stream);
      },
      [&] {
        return OpCost{.name = "append_to_cache", .bytes = 2 * double(k.bytes() + v.bytes())};
      });
}

}  // namespace elastron::ops

#include "ops/decode_attention.h"

#include <vector>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/decode_attention.h"
#include "ops/cpu/parallel_for.h"
#include "ops/cuda/attention/decode.h"

namespace elastron::ops {

Tensor decode_attention(const Tensor& q, std::span<const CachedHead> heads, double softmax_scale) {
  ELASTRON_CHECK(q.rank() == 2 && !heads.empty() && q.size(0) % int64_t(heads.size()) == 0,
                 "decode_attention takes [q_heads, head_dim]");
  check_dense("decode_attention", q);
  const int64_t q_heads = q.size(0), head_dim = q.size(1);
  const int64_t group = q_heads / int64_t(heads.size());
  int64_t keys = 0;
  for (const CachedHead& head : heads) {
    ELASTRON_CHECK(head.k.rank() == 2 && head.k.size(1) == head_dim && head.k.dtype() == q.dtype(),
                   "decode_attention: keys of another model");
    check_same(head.k, head.v, "decode_attention");
    check_dense("decode_attention", q, head.k, head.v);
    for (const auto& range : head.visible) {
      ELASTRON_CHECK(range.begin >= 0 && range.begin <= range.end && range.end <= head.k.size(0),
                     "decode_attention: rows outside of the cache");
    }
    ELASTRON_CHECK(head.keys() > 0, "decode_attention: a head without keys");
    keys = std::max(keys, head.keys());
  }
  Tensor out = Tensor::empty(q.shape(), q.dtype(), q.device());
  with_float_dtype(q.dtype(), [&]<class T>() {
    const T* from = q.data<T>();
    T* to = out.data<T>();
    run_on(
        q.device(),
        [&] {
          cpu::parallel_ranges(q_heads, keys * head_dim, [&](int64_t begin, int64_t end) {
            for (int64_t h = begin; h < end; ++h) {
              cpu::decode_head<T>(from + h * head_dim, heads[size_t(h / group)], softmax_scale,
                                  head_dim, to + h * head_dim);
            }
          });
        },
        [&](auto stream) {
          std::vector<cuda::DecodeHead> views;
          for (const CachedHead& head : heads) {
            auto& view = views.emplace_back(cuda::DecodeHead{head.k.raw(), head.v.raw(), {}});
            for (size_t r = 0; r < head.visible.size(); ++r) {
              view.range[r][0] = head.visible[r].begin;
              view.range[r][1] = head.visible[r].end;
            }
          }
          const Tensor there = on_device(std::span<const cuda::DecodeHead>(views), q.device());
          cuda::decode_attention<T>(from, static_cast<const cuda::DecodeHead*>(there.raw()),
                                    q_heads, group, head_dim, softmax_scale, to, stream);
        },
        [&](MetaDevice& meta) {
          // A product with each key and each value; they are read once.
          double seen = 0;
          for (const CachedHead& head : heads) seen += double(head.keys());
          meta.record({.name = "decode_attention",
                       .kind = WorkKind::attention_selected,
                       .flops = 4 * seen * double(group * head_dim),
                       .bytes = 2 * seen * double(head_dim) * double(dtype_size(q.dtype()))});
          if (meta.behaves_as() != DeviceKind::cuda) return;
          const std::vector<cuda::DecodeHead> views(heads.size());
          on_device(std::span<const cuda::DecodeHead>(views), meta);
        });
  });
  return out;
}

}  // namespace elastron::ops

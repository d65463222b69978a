#include "ops/decode_attention.h"

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/decode_attention.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops {

Tensor decode_attention(const Tensor& q, std::span<const CachedHead> heads, double softmax_scale) {
  ELASTRON_CHECK(q.rank() == 2 && !heads.empty() && q.size(0) % int64_t(heads.size()) == 0,
                 "decode_attention takes [q_heads, head_dim]");
  check_contiguous(q, "decode_attention");
  check_cpu(q, "decode_attention");
  const int64_t q_heads = q.size(0), head_dim = q.size(1);
  const int64_t group = q_heads / int64_t(heads.size());
  int64_t keys = 0;
  for (const CachedHead& head : heads) {
    ELASTRON_CHECK(head.k.rank() == 2 && head.k.size(1) == head_dim && head.k.dtype() == q.dtype(),
                   "decode_attention: keys of another model");
    check_same(head.k, head.v, "decode_attention");
    check_contiguous(head.k, "decode_attention");
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
    cpu::parallel_ranges(q_heads, keys * head_dim, [&](int64_t begin, int64_t end) {
      for (int64_t h = begin; h < end; ++h) {
        cpu::decode_head<T>(from + h * head_dim, heads[size_t(h / group)], softmax_scale, head_dim,
                            to + h * head_dim);
      }
    });
  });
  return out;
}

}  // namespace elastron::ops

#include "ops/decode_attention.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/decode_attention.h"
#include "ops/cpu/parallel_for.h"
#include "ops/cuda/attention/decode.h"

namespace elastron::ops {

Tensor decode_attention(const Tensor& q, const CachedLayer& layer, const Tensor& position,
                        double softmax_scale) {
  const auto& heads = layer.heads();
  ELASTRON_CHECK(q.rank() == 2 && !heads.empty() && q.size(0) % int64_t(heads.size()) == 0,
                 "decode_attention takes [q_heads, head_dim]");
  const int64_t q_heads = q.size(0), head_dim = q.size(1);
  const int64_t group = q_heads / int64_t(heads.size());
  ELASTRON_CHECK(heads.front().k.size(1) == head_dim && heads.front().k.dtype() == q.dtype(),
                 "decode_attention: keys of another model");
  check_dense("decode_attention", q, heads.front().k, position);
  check_shape(position, {1}, "decode_attention");
  Tensor out = Tensor::empty(q.shape(), q.dtype(), q.device());
  with_float_dtype(q.dtype(), [&]<class T>() {
    const T* from = q.data<T>();
    T* to = out.data<T>();
    run_on(
        q.device(),
        [&] {
          const int64_t at = position.data<int32_t>()[0];
          int64_t keys = 0;
          for (const CachedHead& head : heads) {
            const VisibleRows visible = head.rows.visible(at);
            for (const auto& range : visible.ranges) {
              ELASTRON_CHECK(range.end <= head.k.size(0),
                             "decode_attention: rows outside of the cache");
            }
            keys = std::max(keys, visible.keys());
          }
          cpu::parallel_ranges(q_heads, keys * head_dim, [&](int64_t begin, int64_t end) {
            for (int64_t h = begin; h < end; ++h) {
              const CachedHead& head = heads[size_t(h / group)];
              cpu::decode_head<T>(from + h * head_dim, head, head.rows.visible(at), softmax_scale,
                                  head_dim, to + h * head_dim);
            }
          });
        },
        [&](auto stream) {
          cuda::decode_attention<T>(from, static_cast<const cuda::DecodeHead*>(layer.table().raw()),
                                    position.data<int32_t>(), q_heads, group, head_dim,
                                    softmax_scale, to, stream);
        },
        [&] {
          // A product with each key and each value, which are read once; of a full cache, as the
          // position is not known here.
          double rows = 0;
          for (const CachedHead& head : heads) rows += double(head.k.size(0));
          return OpCost{.name = "decode_attention",
                        .kind = WorkKind::attention_selected,
                        .flops = 4 * rows * double(group * head_dim),
                        .bytes = 2 * rows * double(head_dim) * double(dtype_size(q.dtype()))};
        });
  });
  return out;
}

}  // namespace elastron::ops

#include "ops/decode_attention.h"

#include <vector>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/decode_attention.h"
#include "ops/cpu/parallel_for.h"
#include "ops/cuda/attention/decode.h"

namespace elastron::ops {

namespace {

template <class T>
void decode_on_cpu(const T* q, const CachedLayer& layer, const int32_t* positions, int64_t group,
                   double scale, T* out) {
  const auto* heads = static_cast<const CachedHead*>(layer.heads.raw());
  const int64_t head_dim = layer.page.head_dim, all = layer.sequences * layer.kv_heads;
  std::vector<int64_t> work;
  for (int64_t h = 0; h < all; ++h) {
    const VisibleRows visible = heads[h].rows.visible(positions[h / layer.kv_heads]);
    for (const auto& range : visible.ranges) {
      ELASTRON_CHECK(range.end <= heads[h].room, "decode_attention: rows outside of the cache");
    }
    work.push_back((work.empty() ? 0 : work.back()) + visible.keys() * group * head_dim);
  }
  cpu::parallel_shares(work, [&](int64_t begin, int64_t end) {
    cpu::DecodedHead<T> decoded(group, head_dim, layer.page.rows, scale);
    for (int64_t h = begin; h < end; ++h) {
      cpu::decode_head<T>(q + h * group * head_dim, heads[h], positions[h / layer.kv_heads],
                          layer.page, decoded, out + h * group * head_dim);
    }
  });
}

}  // namespace

Tensor decode_attention(const Tensor& q, const CachedLayer& layer, const Tensor& positions,
                        double softmax_scale) {
  const PageShape& page = layer.page;
  ELASTRON_CHECK(q.rank() == 3 && q.size(0) == layer.sequences && q.size(1) % layer.kv_heads == 0,
                 "decode_attention takes [sequences, q_heads, head_dim]");
  ELASTRON_CHECK(page.head_dim == q.size(2) && page.dtype == q.dtype(),
                 "decode_attention: keys of another model");
  check_dense("decode_attention", q, layer.heads, positions);
  check_shape(positions, {layer.sequences}, "decode_attention");
  const int64_t group = q.size(1) / layer.kv_heads;
  Tensor out = Tensor::empty(q.shape(), q.dtype(), q.device());
  with_float_dtype(q.dtype(), [&]<class T>() {
    const T* from = q.data<T>();
    T* to = out.data<T>();
    const cuda::DecodeShape shape{.sequences = layer.sequences,
                                  .kv_heads = layer.kv_heads,
                                  .group = group,
                                  .head_dim = q.size(2),
                                  .page_rows = page.rows,
                                  .most_rows = layer.most_rows};
    const auto scratch = [&] {
      const int64_t numbers = cuda::decode_scratch(shape);
      return numbers == 0 ? Tensor()
                          : Tensor::empty({numbers}, accumulator_dtype(q.dtype()), q.device());
    };
    run_on(
        q.device(),
        [&] { decode_on_cpu<T>(from, layer, positions.data<int32_t>(), group, softmax_scale, to); },
        [&](auto stream) {
          const Tensor parts = scratch();
          cuda::decode_attention<T>(from, static_cast<const CachedHead*>(layer.heads.raw()),
                                    positions.data<int32_t>(), shape, softmax_scale,
                                    parts.defined() ? parts.data<accumulator_t<T>>() : nullptr, to,
                                    stream);
        },
        [&](MetaDevice& meta) {
          const Tensor parts = scratch();
          // A product with each key and each value, which are read once; of a full cache, as the
          // positions are not known here.
          meta.record(
              {.name = "decode_attention",
               .kind = WorkKind::attention_selected,
               .flops = 4 * layer.all_rows * double(group * q.size(2)),
               .bytes = 2 * layer.all_rows * double(q.size(2)) * double(dtype_size(q.dtype())),
               .launches = cuda::decode_launches(shape)});
        });
  });
  return out;
}

}  // namespace elastron::ops

#include "ops/attention_argmax.h"

#include <algorithm>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/attention_argmax.h"
#include "ops/cpu/parallel_for.h"
#include "ops/cuda/attention/argmax.h"

namespace elastron::ops {

Tensor attention_argmax(const Tensor& q, const Tensor& k, std::span<const QueryRow> rows) {
  ELASTRON_CHECK(q.rank() == 3 && k.rank() == 3 && q.size(0) == k.size(0) &&
                     q.size(2) == k.size(2) && q.size(1) % k.size(1) == 0 && q.dtype() == k.dtype(),
                 "attention_argmax takes [tokens, heads, head_dim]");
  check_dense("attention_argmax", q, k);
  int64_t longest = 0;
  for (const QueryRow& row : rows) {
    ELASTRON_CHECK(row.first_key >= 0 && row.first_key <= row.query && row.query < q.size(0),
                   "attention_argmax: a row outside of the batch");
    longest = std::max<int64_t>(longest, row.query - row.first_key + 1);
  }
  const int64_t q_heads = q.size(1), kv_heads = k.size(1), head_dim = q.size(2);
  const int64_t group = q_heads / kv_heads, count = int64_t(rows.size());
  Tensor out = Tensor::empty({count, q_heads}, DType::i32, q.device());
  with_float_dtype(q.dtype(), [&]<class T>() {
    const T *from = q.data<T>(), *keys = k.data<T>();
    auto* to = out.data<int32_t>();
    run_on(
        q.device(),
        [&] {
          cpu::parallel_rows(count * q_heads, longest * head_dim, [&](int64_t i) {
            const QueryRow& row = rows[size_t(i / q_heads)];
            const int64_t h = i % q_heads;
            to[i] = cpu::strongest_key<T>(from + (row.query * q_heads + h) * head_dim,
                                          keys + h / group * head_dim, kv_heads * head_dim,
                                          head_dim, row);
          });
        },
        [&](auto stream) {
          const Tensor there = on_device(rows, q.device());
          cuda::attention_argmax<T>(from, keys, static_cast<const QueryRow*>(there.raw()), count,
                                    q_heads, kv_heads, head_dim, to, stream);
        },
        [&](MetaDevice& meta) {
          double keys_seen = 0;
          for (const QueryRow& row : rows) keys_seen += double(row.query - row.first_key + 1);
          meta.record(
              {.name = "attention_argmax",
               .bytes = keys_seen * double(kv_heads * head_dim) * double(dtype_size(k.dtype()))});
          if (meta.behaves_as() == DeviceKind::cuda) on_device(rows, meta);
        });
  });
  return out;
}

}  // namespace elastron::ops

#include "model/quantised_parameter.h"

#include <algorithm>
#include <vector>

#include "core/float8.h"
#include "ops/elementwise.h"
#include "ops/quantise.h"

namespace elastron::model {

namespace {

constexpr int64_t kValuesAtOnce = int64_t(1) << 20;

using Window = SafetensorsFile::Window;

// The part of the whole weight that the shard is.
Window shard(const Parameter& p) {
  const Shape shape = local_shape(p);
  const int64_t r0 = p.partition.dim == 0 ? p.partition.offset : 0;
  const int64_t c0 = p.partition.dim == 1 ? p.partition.offset : 0;
  return {r0, r0 + shape[0], c0, c0 + shape[1]};
}

int64_t rounded_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

bool are_numbers(const Tensor& values) {
  const auto* first = values.data<e4m3>();
  return std::none_of(first, first + values.numel(),
                      [](e4m3 x) { return (x.bits & 0x7f) == 0x7f; });
}

// Fills value and scales on the host and brings them to where they are.
template <class F>
bool fill_on_host(Parameter& p, const F& f) {
  const bool there = p.value.device().kind() == DeviceKind::cpu;
  const auto host = [there](const Tensor& t) {
    return there ? Tensor::borrow(t.raw(), t.shape(), t.dtype(), host_device())
                 : Tensor::empty(t.shape(), t.dtype(), host_device());
  };
  Tensor values = host(p.value), scales = host(p.scale.values);
  const bool finite = f(values, scales);
  if (there) return finite;
  p.value.transfer_from(values);
  p.scale.values.transfer_from(scales);
  return finite;
}

}  // namespace

bool fill_quantised(Parameter& p, const ReadWindow& read) {
  const WeightBlocks blocks{.out = p.scale.out_block, .in = p.scale.in_block};
  const Window own = shard(p);
  if (own.r0 == own.r1 || own.c0 == own.c1) return true;
  // With all of the blocks that the shard has a part of.
  const int64_t rows = std::min(rounded_up(own.r1, blocks.out), p.logical_shape[0]);
  const int64_t c0 = own.c0 - p.scale.in_offset;
  const int64_t c1 = std::min(rounded_up(own.c1, blocks.in), p.logical_shape[1]);
  const int64_t stripe =
      std::max<int64_t>(kValuesAtOnce / (blocks.out * (c1 - c0)), 1) * blocks.out;
  return fill_on_host(p, [&](Tensor& values, Tensor& scales) {
    bool finite = true;
    const int64_t first = own.r0 - p.scale.out_offset;
    for (int64_t r0 = first; r0 < rows; r0 += stripe) {
      const Window window{r0, std::min(r0 + stripe, rows), c0, c1};
      Tensor numbers = Tensor::empty({window.r1 - r0, c1 - c0}, DType::f32, host_device());
      read(window, numbers);
      finite = finite && ops::all_finite(numbers);
      const ops::QuantisedWeight q = ops::quantise(numbers, blocks);
      const int64_t from = std::max(r0, own.r0), to = std::min(window.r1, own.r1);
      values.slice(0, from - own.r0, to - own.r0)
          .copy_from(q.values.slice(0, from - r0, to - r0).slice(1, own.c0 - c0, own.c1 - c0));
      const int64_t block = (r0 - first) / blocks.out;
      scales.slice(0, block, block + q.scale.values.size(0)).copy_from(q.scale.values);
    }
    return finite;
  });
}

bool copy_quantised(Parameter& p, const SafetensorsFile& file, const WeightScale& scale,
                    const OnSlice& on_slice) {
  ELASTRON_CHECK(scale.out_block == p.scale.out_block && scale.in_block == p.scale.in_block,
                 p.name + " is kept in other blocks");
  const Window own = shard(p);
  return fill_on_host(p, [&](Tensor& values, Tensor& scales) {
    if (values.numel() == 0) return true;
    file.read(p.name, p.logical_shape, p.partition, values, on_slice);
    const int64_t r = own.r0 / scale.out_block, c = own.c0 / scale.in_block;
    scales.copy_from(scale.values.slice(0, r, r + scales.size(0)).slice(1, c, c + scales.size(1)));
    return are_numbers(values) && ops::all_finite(scales);
  });
}

}  // namespace elastron::model

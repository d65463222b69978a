#include "ops/head_groups.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/head_groups.h"
#include "ops/cuda/head_groups.h"

namespace elastron::ops {

Tensor sum_heads(const Tensor& x, int64_t groups, double scale) {
  ELASTRON_CHECK(x.rank() == 3 && groups > 0 && x.size(1) % groups == 0,
                 "sum_heads takes [documents, heads, width], and groups that divide the heads");
  check_dense("sum_heads", x);
  Tensor sum = Tensor::empty({x.size(0), groups, x.size(2)}, x.dtype(), x.device());
  with_master_dtype(x.dtype(), [&]<class A>() {
    const A* from = x.data<A>();
    A* to = sum.data<A>();
    const int64_t rows = x.size(0) * groups, each = x.size(1) / groups, width = x.size(2);
    run_on(
        x.device(), [&] { cpu::sum_heads<A>(from, rows, each, width, A(scale), to); },
        [&](auto stream) { cuda::sum_heads<A>(from, rows, each, width, A(scale), to, stream); },
        [&] { return touches("sum_heads", x, sum); });
  });
  return sum;
}

Tensor spread_over_heads(const Tensor& x, int64_t heads, double scale) {
  ELASTRON_CHECK(x.rank() == 3 && x.size(1) > 0 && heads % x.size(1) == 0,
                 "spread_over_heads takes [documents, groups, width], and groups that divide the "
                 "heads");
  check_dense("spread_over_heads", x);
  Tensor spread = Tensor::empty({x.size(0), heads, x.size(2)}, x.dtype(), x.device());
  with_master_dtype(x.dtype(), [&]<class A>() {
    const A* from = x.data<A>();
    A* to = spread.data<A>();
    const int64_t rows = x.size(0) * x.size(1), each = heads / x.size(1), width = x.size(2);
    run_on(
        x.device(), [&] { cpu::spread_over_heads<A>(from, rows, each, width, A(scale), to); },
        [&](auto stream) {
          cuda::spread_over_heads<A>(from, rows, each, width, A(scale), to, stream);
        },
        [&] { return touches("spread_over_heads", x, spread); });
  });
  return spread;
}

Tensor spread_gate(const Tensor& gate, int64_t heads) {
  ELASTRON_CHECK(
      gate.rank() == 2 && gate.dtype() == DType::u8 && gate.size(1) > 0 &&
          heads % gate.size(1) == 0,
      "spread_gate takes [documents, groups] of uint8, and groups that divide the heads");
  check_contiguous(gate, "spread_gate");
  Tensor spread = Tensor::empty({gate.size(0), heads}, DType::u8, gate.device());
  const auto* from = gate.data<uint8_t>();
  auto* to = spread.data<uint8_t>();
  const int64_t gates = gate.numel(), each = heads / gate.size(1);
  run_on(
      gate.device(), [&] { cpu::spread_over_heads<uint8_t>(from, gates, each, 1, 1, to); },
      [&](auto stream) { cuda::spread_over_heads<uint8_t>(from, gates, each, 1, 1, to, stream); },
      [&] { return touches("spread_gate", gate, spread); });
  return spread;
}

}  // namespace elastron::ops

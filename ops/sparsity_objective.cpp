#include "ops/sparsity_objective.h"

#include <vector>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/sparsity_objective.h"
#include "ops/cuda/sparsity_objective.h"

namespace elastron::ops {

Tensor count_closed_gates(std::span<const Tensor> gates) {
  ELASTRON_CHECK(!gates.empty(), "count_closed_gates: no layers");
  const Tensor& first = gates.front();
  ELASTRON_CHECK(first.rank() == 2, "count_closed_gates takes [documents, heads]");
  Device& device = first.device();
  const int64_t documents = first.size(0), heads = first.size(1);
  std::vector<const uint8_t*> of_layers;
  for (const Tensor& layer : gates) {
    check_same(layer, first, "count_closed_gates");
    check_contiguous(layer, "count_closed_gates");
    of_layers.push_back(layer.data<uint8_t>());
  }
  Tensor closed = Tensor::empty({documents}, DType::f64, device);
  auto* counts = closed.data<double>();
  const auto layers = int64_t(gates.size());
  run_on(
      device,
      [&] {
        for (int64_t d = 0; d < documents; ++d) {
          int64_t count = 0;
          for (const uint8_t* layer : of_layers) {
            for (int64_t h = 0; h < heads; ++h) count += layer[d * heads + h] == 0 ? 1 : 0;
          }
          counts[d] = double(count);
        }
      },
      [&](auto stream) {
        const Tensor there = on_device(std::span<const uint8_t* const>(of_layers), device);
        cuda::count_closed_gates(static_cast<const uint8_t* const*>(there.raw()), layers, documents,
                                 heads, counts, stream);
      },
      [&](MetaDevice& meta) {
        meta.record({.name = "count_closed_gates",
                     .bytes = double(layers) * double(first.bytes()),
                     .launches = documents > 0 ? 1 : 0});
        if (meta.behaves_as() != DeviceKind::cuda) return;
        on_device(std::span<const uint8_t* const>(of_layers), meta);
      });
  return closed;
}

SparsityObjectiveOutput sparsity_objective(const Tensor& closed, double of,
                                           std::span<const ObjectiveDocument> documents,
                                           const ObjectiveMultipliers& multipliers,
                                           const SparsityObjectiveRule& rule, int64_t heads) {
  const auto count = int64_t(documents.size());
  const Tensor &lambda1 = multipliers.lambda1, &lambda2 = multipliers.lambda2;
  check_shape(closed, {count}, "sparsity_objective");
  check_same(lambda1, lambda2, "sparsity_objective");
  check_dense("sparsity_objective", closed, lambda1, lambda2);
  for (const ObjectiveDocument& d : documents) {
    ELASTRON_CHECK(d.task >= 0 && d.task < lambda1.numel(), "a task without a multiplier");
  }
  const bool trains = multipliers.d_lambda1.defined();
  if (trains) {
    check_same(multipliers.d_lambda1, lambda1, "sparsity_objective");
    check_same(multipliers.d_lambda2, lambda2, "sparsity_objective");
    check_dense("sparsity_objective", multipliers.d_lambda1, multipliers.d_lambda2);
  }
  Device& device = closed.device();
  SparsityObjectiveOutput out{Tensor::empty({1}, DType::f64, device),
                              Tensor::empty({count}, DType::f64, device),
                              Tensor::empty({count}, DType::f64, device),
                              Tensor::empty({count, heads}, lambda1.dtype(), device)};
  with_master_dtype(lambda1.dtype(), [&]<class A>() {
    detail::ObjectiveArgs<A> args{.closed = closed.data<double>(),
                                  .of = of,
                                  .documents = documents.data(),
                                  .count = count,
                                  .tasks = lambda1.numel(),
                                  .heads = heads,
                                  .lambda1 = lambda1.data<A>(),
                                  .lambda2 = lambda2.data<A>(),
                                  .rule = rule,
                                  .value = out.value.data<double>(),
                                  .reg = out.reg.data<double>(),
                                  .d_msr = out.d_msr.data<double>(),
                                  .d_gate = out.d_gate.data<A>()};
    if (trains) {
      args.d_lambda1 = multipliers.d_lambda1.data<A>();
      args.d_lambda2 = multipliers.d_lambda2.data<A>();
    }
    run_on(
        device, [&] { cpu::sparsity_objective<A>(args); },
        [&](auto stream) {
          const Tensor there = on_device(documents, device);
          args.documents = static_cast<const ObjectiveDocument*>(there.raw());
          cuda::sparsity_objective<A>(args, stream);
        },
        [&](MetaDevice& meta) {
          meta.record(touches("sparsity_objective", closed, out.reg, out.d_msr, out.d_gate));
          if (meta.behaves_as() == DeviceKind::cuda) on_device(documents, meta);
        });
  });
  return out;
}

}  // namespace elastron::ops

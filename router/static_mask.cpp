#include "router/static_mask.h"

#include <vector>

#include "ops/elementwise.h"

namespace elastron::router {

StaticMask::StaticMask(int64_t layer, const KvHeads& heads, const L0Config& config, DType dtype,
                       bool trainable, Device& device)
    : rule_(config.rule()) {
  Parameter& p = log_alpha_;
  p.name = "router.layers." + std::to_string(layer) + "." + kLeaf;
  p.logical_shape = {heads.all};
  if (heads.own != heads.all) p.partition = {.dim = 0, .offset = heads.first, .size = heads.own};
  p.group = ParameterGroup::router;
  p.trainable = trainable;
  const std::vector<double> values(size_t(heads.own), config.init);
  p.value = ops::cast(Tensor::from(values, {heads.own}, device), dtype);
  if (trainable) {
    p.master = p.value;
    p.grad = Tensor::zeros({heads.own}, dtype, device);
  }
}

ops::GateOutput StaticMask::sample(const ops::GateSampling& sampling) const {
  return ops::hard_concrete_sample(log_alpha_.value, rule_, sampling);
}

ops::GateOutput StaticMask::decide(int64_t documents) const {
  return ops::hard_concrete_decide(log_alpha_.value, rule_, documents);
}

void StaticMask::backward(const Tensor& d_gate, const Tensor& value) {
  ELASTRON_CHECK(trainable(), "this mask is not trained");
  ops::hard_concrete_backward(d_gate, value, rule_, log_alpha_.grad);
}

}  // namespace elastron::router

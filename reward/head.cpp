#include "reward/head.h"

#include <vector>

#include "core/philox.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/rows.h"

namespace elastron::reward {

RewardHead::RewardHead(int64_t hidden, DType dtype, uint64_t seed, bool trainable, Device& device) {
  ELASTRON_CHECK(dtype == accumulator_dtype(dtype), "a reward head is in master precision");
  weight_.name = kHeadName;
  weight_.logical_shape = {1, hidden};
  weight_.group = ParameterGroup::head;
  weight_.trainable = trainable;
  const RandomStream stream(seed, RandomPurpose::head_init);
  std::vector<float> values;
  for (int64_t i = 0; i < hidden; ++i) {
    values.push_back(float(stream.normal_at(uint64_t(i)) / double(hidden + 1)));
  }
  weight_.value = ops::cast(Tensor::from(values, weight_.logical_shape, device), dtype);
  if (!trainable) return;
  weight_.master = weight_.value;
  weight_.grad = Tensor::zeros(weight_.logical_shape, dtype, device);
}

Tensor RewardHead::forward(const Tensor& hidden, std::span<const int32_t> last_tokens,
                           Saved& saved) const {
  const int64_t count = int64_t(last_tokens.size());
  saved.rows = Tensor::from(std::vector<int32_t>(last_tokens.begin(), last_tokens.end()), {count},
                            hidden.device());
  saved.tokens = hidden.size(0);
  saved.trunk = hidden.dtype();
  if (count == 0) return Tensor::empty({0}, weight_.value.dtype(), hidden.device());
  saved.x = ops::cast(ops::gather_rows(hidden, saved.rows), weight_.value.dtype());
  return ops::linear_forward(saved.x, ops::LinearWeight(weight_.value, ops::WeightForm::in_place))
      .view({count});
}

Tensor RewardHead::backward(const Tensor& d_scores, const Saved& saved, bool need_hidden) {
  const bool any = d_scores.numel() > 0;
  const Tensor d = d_scores.view({d_scores.numel(), 1});
  if (any && weight_.trainable) ops::linear_wgrad(d, saved.x, weight_.grad);
  if (!need_hidden) return {};
  Tensor d_hidden =
      Tensor::zeros({saved.tokens, weight_.logical_shape[1]}, saved.trunk, d_scores.device());
  if (!any) return d_hidden;
  const Tensor dx =
      ops::linear_dgrad(d, ops::LinearWeight(weight_.value, ops::WeightForm::in_place));
  ops::scatter_rows(ops::cast(dx, saved.trunk), saved.rows, d_hidden);
  return d_hidden;
}

}  // namespace elastron::reward

#include "model/step_work.h"

namespace elastron::model {

StepWork step_work(const ModelConfig& c, const DecoderOptions& options, const StepShape& shape) {
  const double tokens = double(shape.tokens), layers = double(c.num_layers);
  const double e = double(c.hidden_size), f = double(c.intermediate_size);
  const double q = double(c.q_heads * c.head_dim), kv = double(c.kv_heads * c.head_dim);
  const double qkv = e * (q + 2 * kv), all = qkv + q * e + 3 * e * f;
  // Forward, to the inputs, to the weights.
  const double passes = options.train_backbone ? 3 : shape.backward ? 2 : 1;
  const double head = passes * 2 * double(shape.labels) * double(c.vocab_size) * e;
  if (!shape.backward) {
    const double linear = layers * 2 * tokens * all;
    return {.done = linear + head + layers * 4 * q * shape.selected_pairs,
            .dense_equivalent = linear + head + layers * 4 * q * shape.full_pairs};
  }
  // Two products forward; five backward, which computes the scores again.
  const double per_pair = 4 * q, backward = 2.5;

  StepWork work;
  work.dense_equivalent =
      layers * (passes * 2 * tokens * all + (1 + backward) * per_pair * shape.full_pairs) + head;

  double linear = layers * passes * 2 * tokens * all, below_layers = layers;
  if (!options.train_backbone) {
    // Nothing is trained below the first layer's router.
    linear -= 2 * tokens * qkv;
    below_layers -= 1;
  }
  const double once = shape.both_branches ? shape.full_pairs : shape.selected_pairs;
  double forward = layers * once;
  switch (options.recompute) {
    case Recompute::none: break;
    case Recompute::selective: linear += layers * 2 * tokens * (qkv + 2 * e * f); break;
    case Recompute::layer:
      linear += layers * 2 * tokens * (all - e * f);  // all but the MLP's last product
      forward += layers * shape.selected_pairs;
      break;
  }
  work.done = linear + head + per_pair * (forward + below_layers * backward * shape.selected_pairs);
  return work;
}

}  // namespace elastron::model

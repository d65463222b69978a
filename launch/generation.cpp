#include "launch/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "core/error.h"
#include "ops/elementwise.h"
#include "train/step/step.h"

namespace elastron::launch {

namespace {

model::KvCache make_cache(Inference& inference, int64_t prompt, const GenerationOptions& options) {
  const auto& m = inference.decoder().config();
  router::RouterConfig rule = inference.router_config();
  if (options.window == "token") rule.ssa.block = 1;
  model::KvCache cache(m.num_layers, m.kv_heads / inference.mesh().tensor().size(), m.head_dim,
                       prompt + options.max_tokens, rule.streaming_rule(),
                       inference.decoder().options().dtype, inference.runtime().device());
  // Heads that read chosen blocks decode with full attention (docs/attention.md).
  cache.keep_all(options.decode == "full" ||
                 rule.head_pattern().sparse.kind != ops::KeySetKind::streaming);
  return cache;
}

}  // namespace

Generation::Generation(Inference& inference, std::vector<int32_t> prompt, int64_t vocab_size,
                       const GenerationOptions& options)
    : inference_(inference),
      prompt_(std::move(prompt)),
      vocab_size_(size_t(vocab_size)),
      options_(options),
      cache_(make_cache(inference, int64_t(prompt_.size()), options)) {
  ELASTRON_CHECK(!prompt_.empty(), "a prompt with tokens");
}

std::vector<int32_t> Generation::run(const std::function<void()>& beat) {
  Tensor hidden = prefill();
  std::vector<int32_t> generated;
  const auto& stop = inference_.decoder().config().stop_token_ids;
  while (int64_t(generated.size()) < options_.max_tokens) {
    beat();
    const int64_t position = int64_t(prompt_.size() + generated.size());
    const auto logits =
        ops::cast(inference_.decoder().logits(hidden), DType::f32).to_vector<float>();
    const int32_t id =
        next_token(std::span(logits).first(vocab_size_), options_.sampling, position);
    if (!options_.ignore_eos && std::ranges::find(stop, id) != stop.end()) break;
    generated.push_back(id);
    if (int64_t(generated.size()) < options_.max_tokens) {
      hidden = inference_.decoder().decode(id, position, cache_);
    }
  }
  return generated;
}

std::string Generation::report() const {
  parallel::Communicator& tensor = inference_.mesh().tensor();
  std::vector<std::string> mine;
  for (const Tensor& gate : heads_.gates) {
    std::string& line = mine.emplace_back();
    for (const uint8_t z : gate.to_vector<uint8_t>()) line += z != 0 ? 'F' : 's';
  }
  std::string text = "gates, one line per layer and one letter per kv head (F full, s sparse):\n";
  for (const std::string& line : mine) {
    for (const std::string& part : tensor.all_gather_host(line)) text += part;
    text += "\n";
  }
  double bytes[] = {double(cache_.bytes()), double(cache_.full_bytes())};
  tensor.all_reduce_host(std::span<double>(bytes), parallel::ReduceOp::sum);
  return text + fmt::format("key-value cache: {:.2f} MB in place of {:.2f} MB, {:.1f} % saved\n",
                            bytes[0] * 1e-6, bytes[1] * 1e-6, 100 * (1 - bytes[0] / bytes[1]));
}

Tensor Generation::prefill() {
  model::Decoder& decoder = inference_.decoder();
  const data::Document document = prompt_document(prompt_);
  const data::PackedBatch batch = data::make_packed_batch({&document});
  const auto router_batch =
      train::make_router_batch(batch, inference_.router_config(), 0, 1.0, /*sample=*/false);
  const Tensor hidden =
      decoder.forward(model::DeviceBatch::make(batch, inference_.runtime().device()), router_batch,
                      inference_.routed(), nullptr, &heads_, &cache_);
  return hidden.slice(0, hidden.size(0) - 1, hidden.size(0)).clone();
}

}  // namespace elastron::launch

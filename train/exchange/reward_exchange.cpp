#include "train/exchange/reward_exchange.h"

#include <algorithm>
#include <filesystem>

#include "core/file/atomic_file.h"
#include "core/file/exists.h"
#include "core/json.h"
#include "core/log.h"
#include "data/tokenizer.h"
#include "model/weights/expected_tensors.h"
#include "model/weights/model_folder.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "reward/head.h"
#include "train/checkpoint/checkpoint.h"
#include "train/exchange/adapter_exchange.h"
#include "train/exchange/router_exchange.h"
#include "train/workload/registry.h"

namespace elastron::train {

namespace {

bool is_adapter(const std::string& name) {
  return name.ends_with(kFactorA) || name.ends_with(kFactorB);
}
bool is_router(const std::string& name) {
  return name.starts_with("router.") || name.starts_with("objective.");
}

Tensor as_float(const Tensor& t) { return t.dtype() == DType::f32 ? t : ops::cast(t, DType::f32); }

// w + scale B A, in float32.
void merge(Tensor& w, const Tensor& a, const Tensor& b, double scale) {
  // (B A)[out, in] = B [out, rank] times A [rank, in]: what a dgrad computes.
  Tensor product =
      ops::linear_dgrad(as_float(b), ops::LinearWeight(as_float(a), ops::WeightForm::in_place));
  ops::scale_into(product, scale);
  ops::add_into(product, w);
  w = product;
}

bool ends_texts(const model::ModelConfig& m, int32_t id) {
  return std::ranges::find(m.eos_token_ids, id) != m.eos_token_ids.end();
}

// Hugging Face scores the last token that is not padding: a padding id that also ends sequences
// would make that the token before the end.
int32_t padding_id(const model::ModelConfig& m, const std::string& model) {
  // A classifier was scored, and trained on, by the id that it has (reward/overlong.h).
  if (m.sequence_classifier && m.pad_token_id) return *m.pad_token_id;
  if (m.pad_token_id && !ends_texts(m, *m.pad_token_id)) return *m.pad_token_id;
  const auto tokenizer = data::load_tokenizer(model);
  for (const char* name :
       {"<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|endoftext|>", "<unk>"}) {
    const auto id = tokenizer->id(name);
    if (id && *id < m.vocab_size && !ends_texts(m, *id)) return *id;
  }
  if (tokenizer->vocab_size() < m.vocab_size) return int32_t(m.vocab_size - 1);
  throw InputError("the model has no token to pad with", model + "/config.json",
                   "set pad_token_id to a token that no text has");
}

// Adapters leave the base model's config.json as it is, with its padding id.
void warn_of_padding(const std::string& model) {
  if (!exists(model + "/config.json")) return;
  const model::ModelConfig m = model::read_model_shapes(model);
  if (m.sequence_classifier || !m.pad_token_id || !ends_texts(m, *m.pad_token_id)) return;
  log_warning(
      "pad_token_id {} of {} ends texts: with it the transformers library would score the token "
      "before the last one. Load the base model with a pad_token_id that no text has",
      *m.pad_token_id, m.where);
}

nlohmann::ordered_json classifier_config(const model::ModelConfig& m, const std::string& model,
                                         const std::optional<RewardScale>& scale) {
  std::string architecture = m.architecture;
  const std::string causal = "ForCausalLM";
  if (const size_t at = architecture.find(causal); at != architecture.npos) {
    architecture.replace(at, causal.size(), "ForSequenceClassification");
  }
  nlohmann::ordered_json changes = {{"architectures", {architecture}},
                                    {"num_labels", 1},
                                    {"id2label", {{"0", "LABEL_0"}}},
                                    {"label2id", {{"LABEL_0", 0}}},
                                    {"pad_token_id", padding_id(m, model)}};
  if (scale) {
    changes["mean"] = scale->mean;
    changes["std"] = scale->deviation;
  }
  return changes;
}

// Away from the run the routers belong to the backbone that they stand beside.
void write_trained_router(const std::string& folder, const StoredReward& reward,
                          const std::string& fingerprint, const model::RopeOverride& rope,
                          DType dtype) {
  if (!reward.config.trains(Part::router)) return;
  router::StoredRouter router;
  router.config = reward.config.router;
  router.config.force = router::RouterConfig{}.force;
  router.backbone_fingerprint = fingerprint;
  router.rope_scaling = stored_rope_scaling(rope);
  for (const auto& [name, tensor] : reward.tensors) {
    if (is_router(name)) router.tensors[name] = as_float(tensor);
  }
  write_router(folder + "/router", router, dtype);
  log_info("its routers are in {}/router", folder);
}

}  // namespace

StoredReward read_reward(const std::string& path, const CheckpointHeader& header, Device& device) {
  require_objective(header, kReward, path, "name the checkpoint of a reward model");
  return {.config = config::parse_config<Config>(header.config, path),
          .backbone_fingerprint = header.backbone_fingerprint,
          .tensors = read_parameters(path, device),
          .scale = RewardScale::from(header.state)};
}

namespace {

// The backbone with its adapters merged, by name.
std::map<std::string, Tensor> merged_backbone(const StoredReward& reward, const std::string& model,
                                              Device& device) {
  std::map<std::string, Tensor> whole;
  if (reward.config.trains(Part::backbone)) {
    for (const auto& [name, tensor] : reward.tensors) {
      if (!is_router(name)) whole[name] = tensor;
    }
    return whole;
  }
  const model::ModelFolder base(model, reward.config.model.rope_scaling);
  for (const std::string& name : base.weight_names()) {
    Tensor w = base.read(name, device);
    const std::string stem = name.substr(0, name.rfind(".weight"));
    const auto a = reward.tensors.find(stem + kFactorA), b = reward.tensors.find(stem + kFactorB);
    if (a != reward.tensors.end() && b != reward.tensors.end()) {
      w = as_float(w);
      merge(w, a->second, b->second, reward.config.train.lora.scale());
    }
    whole[name] = w;
  }
  return whole;
}

}  // namespace

void write_reward_model(const std::string& folder, const StoredReward& reward,
                        const std::string& model, std::optional<DType> dtype, Device& device) {
  const model::RopeOverride& rope = reward.config.model.rope_scaling;
  const model::ModelConfig m = model::read_model_config(model, rope);
  const DType stored = dtype.value_or(m.dtype);
  const bool head = reward.config.has_reward_head();
  auto whole = merged_backbone(reward, model, device);
  if (head) whole.erase(model::kLmHead);
  if (const auto it = reward.tensors.find(reward::kHeadName); it != reward.tensors.end()) {
    whole[reward::kHeadName] = it->second;
  } else if (head && !whole.contains(reward::kHeadName)) {
    // It did not train: the folder's own.
    const model::ModelFolder base(model, rope);
    whole[reward::kHeadName] = base.read(reward::kHeadName, device);
  }
  for (auto& [name, tensor] : whole) {
    if (tensor.dtype() != stored) tensor = ops::cast(tensor, stored);
  }
  model::write_model_folder(
      folder, model, whole, rope, stored,
      head ? classifier_config(m, model, reward.scale) : nlohmann::ordered_json::object());
  const model::ModelFolder written(folder);
  const std::string sums = written.tensor_checksums(0, 1);
  write_trained_router(folder, reward, written.fingerprint(std::span(&sums, 1)),
                       /*rope=*/{}, DType::f32);
}

void write_reward_adapter(const std::string& folder, const StoredReward& reward,
                          const std::string& model, const std::string& base,
                          std::optional<DType> dtype) {
  if (!reward.config.has_lora()) {
    throw UsageError("the reward model has no adapters", "--format safetensors",
                     "use --format hf-reference: a whole model");
  }
  const DType stored = dtype.value_or(DType::f32);
  std::map<std::string, Tensor> tensors;
  bool head = false;
  for (const auto& [name, tensor] : reward.tensors) {
    if (name == reward::kHeadName) head = true;
    if (!is_adapter(name) && name != reward::kHeadName) continue;
    tensors[kAdapterPrefix + name] = ops::cast(tensor, stored);
  }
  const model::LoraConfig& lora = reward.config.train.lora;
  const bool classifier = reward.config.has_reward_head();
  nlohmann::ordered_json config = {{"peft_type", "LORA"},
                                   {"task_type", classifier ? "SEQ_CLS" : "CAUSAL_LM"},
                                   {"base_model_name_or_path", base},
                                   {"r", lora.rank},
                                   {"lora_alpha", lora.alpha},
                                   {"lora_dropout", 0.0},
                                   {"target_modules", lora.targets},
                                   {"bias", "none"},
                                   {"fan_in_fan_out", false},
                                   {"use_rslora", false},
                                   {"init_lora_weights", true},
                                   {"inference_mode", true}};
  if (classifier) warn_of_padding(model);
  config["modules_to_save"] = nullptr;
  if (head) config["modules_to_save"] = {"score"};
  make_folder(folder, ExitCode::input);
  write_safetensors(folder + "/" + kAdapterTensors, tensors, {{"format", "pt"}});
  write_text_atomically(folder + "/" + kAdapterSettings, config.dump(2) + "\n");
  const model::RopeOverride& rope = reward.config.model.rope_scaling;
  if (rope.keys) {
    log_warning(
        "adapters do not say which positions they were trained with: the base model's config.json "
        "has to have rope_scaling {}",
        model::rope_override_text(rope));
  }
  write_trained_router(folder, reward, reward.backbone_fingerprint, rope, stored);
}

}  // namespace elastron::train

#include "train/exchange/adapter_exchange.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <list>
#include <memory>
#include <set>
#include <string_view>

#include "core/file/exists.h"
#include "core/log.h"
#include "core/misfits.h"
#include "ops/elementwise.h"
#include "parallel/agree.h"
#include "reward/head.h"
#include "train/checkpoint/first_checkpoint.h"
#include "train/config.h"
#include "train/exchange/router_exchange.h"
#include "train/workload/registry.h"

namespace elastron::train {

namespace {

using Json = nlohmann::json;

constexpr uint64_t kLongestSettings = uint64_t(1) << 20;
constexpr int64_t kHighestRank = 4096;

// A value or key from the file, fit for one line of a message.
std::string shown(const Json& value) {
  constexpr size_t kMost = 60;
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return text.size() > kMost ? text.substr(0, kMost) + "..." : text;
}

// Reads the keys, and remembers which.
class Settings {
 public:
  Settings(const Json& object, const std::string& where) : object_(object), where_(where) {
    if (!object.is_object()) fail("the file is not a JSON object", "use an adapter_config.json");
  }
  [[noreturn]] void fail(const std::string& what, const std::string& todo) const {
    throw InputError(what, where_, todo);
  }
  [[noreturn]] void refuse(const char* key, const std::string& todo) const {
    fail(fmt::format("{} {} is not supported", key, shown(object_[key])), todo);
  }
  // Null where it is missing.
  const Json& value(const char* key) {
    read_.insert(key);
    static const Json null;
    const auto it = object_.find(key);
    return it == object_.end() ? null : *it;
  }
  const Json& required(const char* key) {
    if (value(key).is_null()) fail(std::string("'") + key + "' is missing", "use a whole adapter");
    return object_[key];
  }
  bool truth(const char* key) {
    const Json& v = value(key);
    if (!v.is_null() && !v.is_boolean()) refuse(key, "make it true or false");
    return v.is_boolean() && v.get<bool>();
  }
  // Reads a list of texts; it is empty where the value is null.
  std::set<std::string> names(const char* key) {
    std::set<std::string> all;
    const Json& v = value(key);
    if (v.is_null()) return all;
    if (!v.is_array()) refuse(key, "make it a list of names");
    for (const Json& name : v) {
      if (!name.is_string()) refuse(key, "make it a list of names");
      all.insert(name.get<std::string>());
    }
    return all;
  }
  void require_nothing_else() const {
    for (const auto& [key, v] : object_.items()) {
      const bool says_nothing = v.is_null() || v == false || (v.is_structured() && v.empty());
      if (says_nothing || read_.contains(key)) continue;
      fail(fmt::format("{} {} is not supported", shown(key), shown(v)),
           "use plain low-rank adapters: merge these into the model with the library that made "
           "them");
    }
  }

 private:
  const Json& object_;
  const std::string& where_;
  std::set<std::string, std::less<>> read_;
};

model::LoraConfig read_lora(Settings& settings) {
  model::LoraConfig lora;
  const Json& rank = settings.required("r");
  if (!rank.is_number_integer() || rank.get<int64_t>() < 1 || rank.get<int64_t>() > kHighestRank) {
    settings.refuse("r", fmt::format("a rank is a whole number from 1 to {}", kHighestRank));
  }
  lora.rank = rank.get<int64_t>();
  const Json& alpha = settings.required("lora_alpha");
  if (!alpha.is_number()) settings.refuse("lora_alpha", "make it a number");
  lora.alpha = alpha.get<double>();
  // There the product counts alpha / sqrt(r) times.
  if (settings.truth("use_rslora")) lora.alpha *= std::sqrt(double(lora.rank));
  if (!(lora.alpha > 0) || !std::isfinite(lora.alpha)) {
    settings.refuse("lora_alpha", "make it greater than 0");
  }
  settings.required("target_modules");
  const auto targets = settings.names("target_modules");
  lora.targets.clear();
  for (const std::string_view name : model::kLinearNames) {
    if (targets.contains(std::string(name))) lora.targets.emplace_back(name);
  }
  if (targets.empty() || lora.targets.size() != targets.size()) {
    settings.refuse("target_modules", "use " + model::linear_names());
  }
  return lora;
}

// Some ways to start put another matrix in the place of the model's own.
void require_plain_start(Settings& settings) {
  const char* key = "init_lora_weights";
  const Json& start = settings.value(key);
  if (start.is_null() || start.is_boolean()) return;
  for (const char* harmless : {"gaussian", "eva", "orthogonal"}) {
    if (start == harmless) return;
  }
  settings.refuse(key, "save the adapter converted, so that it fits the model as it was");
}

// Nothing that the tensors mean depends on them.
void pass_over_what_is_idle(Settings& settings) {
  for (const char* key :
       {"auto_mapping", "base_model_name_or_path", "eva_config", "inference_mode", "lora_dropout",
        "megatron_core", "peft_version", "qalora_group_size", "revision"}) {
    settings.value(key);
  }
}

// The shape of every tensor that must be in the file, by logical name.
std::map<std::string, Shape> wanted_shapes(const AdapterSettings& settings, bool head,
                                           const model::ModelFolder& base) {
  model::check_adapters(base.config(), settings.lora);
  std::map<std::string, Shape> wanted;
  if (head) wanted[reward::kHeadName] = {1, base.config().hidden_size};
  for (int64_t layer = 0; layer < base.config().num_layers; ++layer) {
    for (size_t i = 0; i < model::kLinearNames.size(); ++i) {
      if (!settings.lora.adapts(model::kLinearNames[i])) continue;
      const auto linear = model::linear_shape(base.config(), layer, model::LinearId(i));
      wanted[linear.name + kFactorA] = {settings.lora.rank, linear.in};
      wanted[linear.name + kFactorB] = {linear.out, settings.lora.rank};
    }
  }
  return wanted;
}

// Exactly those, as float32.
std::map<std::string, Tensor> read_tensors(const SafetensorsFile& file,
                                           const std::map<std::string, Shape>& wanted,
                                           Device& device) {
  const std::string prefix = kAdapterPrefix;
  Misfits misfits;
  const auto raise = [&] {
    misfits.throw_if_any("the adapter does not fit the model", file.path(),
                         "use the model and the settings that it was trained with");
  };
  for (const auto& [name, shape] : wanted) {
    const auto it = file.entries().find(prefix + name);
    if (it == file.entries().end()) {
      misfits.of("missing").push_back(prefix + name);
    } else if (!(it->second.shape == shape)) {
      misfits.of("misshapen")
          .push_back(prefix + name + " is " + it->second.shape.str() + " in place of " +
                     shape.str());
    } else if (!is_floating(it->second.storage)) {
      misfits.of("not floating-point:")
          .push_back(prefix + name + " is " + storage_name(it->second.storage));
    }
  }
  for (const auto& [name, entry] : file.entries()) {
    if (!name.starts_with(prefix) || !wanted.contains(name.substr(prefix.size()))) {
      misfits.of("unexpected").push_back(name);
    }
  }
  raise();
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, shape] : wanted) {
    Tensor values = Tensor::empty(shape, DType::f32, device);
    file.read(prefix + name, shape, {}, values);
    if (!ops::all_finite(values)) misfits.of("not finite:").push_back(prefix + name);
    tensors[name] = values;
  }
  raise();
  return tensors;
}

// The settings that `train` and `eval-reward` must be told to take the checkpoint.
std::string described(const Config& config) {
  std::vector<std::string_view> parts;
  for (const Part part : config.train.trainable) parts.push_back(config::enum_name(part));
  const model::LoraConfig& lora = config.train.lora;
  const std::string rope =
      config.model.rope_scaling.keys
          ? "model.rope_scaling: " + model::rope_override_text(config.model.rope_scaling) + ", "
          : "";
  return rope + fmt::format(
                    "reward.loss: {}, train.trainable: [{}], train.lora: {{rank: {}, alpha: {}, "
                    "targets: [{}]}}",
                    config::enum_name(config.reward.loss), fmt::join(parts, ", "), lora.rank,
                    lora.alpha, fmt::join(lora.targets, ", "));
}

}  // namespace

AdapterSettings read_adapter_settings(const nlohmann::json& object, const std::string& where) {
  Settings settings(object, where);
  if (settings.required("peft_type") != "LORA") {
    settings.refuse("peft_type", "use low-rank adapters: LORA");
  }
  AdapterSettings read;
  const Json& task = settings.required("task_type");
  read.classifier = task == "SEQ_CLS";
  if (!read.classifier && task != "CAUSAL_LM") {
    settings.refuse("task_type", "use the adapter of a SEQ_CLS or CAUSAL_LM model");
  }
  read.lora = read_lora(settings);
  const Json& bias = settings.value("bias");
  if (!bias.is_null() && bias != "none") settings.refuse("bias", "train without biases: none");
  // The library lists the names that its classifiers' heads may have.
  for (const std::string& name : settings.names("modules_to_save")) {
    if (!read.classifier || (name != "score" && name != "classifier")) {
      settings.refuse("modules_to_save", "only the score of a SEQ_CLS model is taken");
    }
    read.saves_head = read.saves_head || name == "score";
  }
  require_plain_start(settings);
  pass_over_what_is_idle(settings);
  settings.require_nothing_else();
  return read;
}

bool is_adapter_folder(const std::string& path) {
  return exists(path + "/" + kAdapterSettings) || exists(path + "/" + kAdapterTensors);
}

StoredAdapter read_adapter(const std::string& folder, const model::ModelFolder& base,
                           Device& device) {
  const std::string path = folder + "/" + kAdapterSettings;
  StoredAdapter adapter{.settings = read_adapter_settings(
                            parse_json_strict(read_small_file(path, kLongestSettings), path,
                                              {.max_bytes = kLongestSettings, .max_depth = 16}),
                            path),
                        .tensors = {}};
  const AdapterSettings& settings = adapter.settings;
  const SafetensorsFile file(folder + "/" + kAdapterTensors);
  const bool stored = file.entries().contains(std::string(kAdapterPrefix) + reward::kHeadName);
  if (!settings.classifier && base.config().sequence_classifier) {
    throw InputError("the adapter belongs to a causal language model, the model is a classifier",
                     folder, "use the language model's folder");
  }
  if (settings.classifier && !settings.saves_head && !stored &&
      !base.config().sequence_classifier) {
    throw InputError("neither the adapter nor the model has a reward head", folder,
                     "save the adapter with its score, or use the folder of a classifier");
  }
  const bool head = settings.classifier && (settings.saves_head || stored);
  adapter.tensors = read_tensors(file, wanted_shapes(settings, head, base), device);
  return adapter;
}

std::string import_adapter(const std::string& from, const std::string& model,
                           const std::string& folder, parallel::Mesh& mesh, Device& device) {
  Config config;
  config.model.path = model;
  config.train.objective = kReward;
  // Those of a reward model that trained them (reward_exchange.h).
  const std::string routers = from + "/router";
  if (is_exchange_folder(routers)) {
    config.reward.router = routers;
    config.model.rope_scaling = rope_scaling_of(read_router(routers, mesh, device), routers);
  }
  std::unique_ptr<model::ModelFolder> base;
  std::list<Parameter> own;
  ParameterList parameters;
  parallel::on_all_ranks(mesh.world(), [&] {
    require_new_checkpoint_folder(folder);
    base = std::make_unique<model::ModelFolder>(model, config.model.rope_scaling);
    const StoredAdapter adapter = read_adapter(from, *base, device);
    config.train.lora = adapter.settings.lora;
    if (!adapter.settings.classifier) config.reward.loss = reward::LossKind::simpo;
    if (adapter.tensors.contains(reward::kHeadName)) {
      config.train.trainable.push_back(Part::reward_head);
    }
    config.train.trainable.push_back(Part::lora);
    for (const auto& [name, tensor] : adapter.tensors) {
      const bool head = name == reward::kHeadName;
      own.push_back({.name = name,
                     .logical_shape = tensor.shape(),
                     .partition = {},
                     .group = head ? ParameterGroup::head : ParameterGroup::lora,
                     .trainable = true,
                     .value = tensor,
                     .master = tensor,
                     .grad = {}});
      parameters.push_back(&own.back());
    }
  });
  const std::string fingerprint = shared_fingerprint(*base, mesh);
  const std::string path =
      write_checkpoint_of_step_0(folder, config, parameters, fingerprint, mesh);
  log_info("it takes {}", described(config));
  if (!config.reward.router.empty()) {
    log_info("it was trained with routers: set reward.router to {}", config.reward.router);
  }
  return path;
}

}  // namespace elastron::train

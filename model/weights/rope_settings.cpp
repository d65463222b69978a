#include "model/weights/rope_settings.h"

#include <algorithm>
#include <array>
#include <set>

namespace elastron::model {

namespace {

using Json = nlohmann::json;

constexpr double kThetaOfTransformers = 10000.0;
constexpr const char* kLayerTypes[] = {"full_attention",   "sliding_attention", "chunked_attention",
                                       "linear_attention", "local_attention",   "global_attention"};
constexpr const char* kLlama3Keys[] = {"factor", "low_freq_factor", "high_freq_factor",
                                       "original_max_position_embeddings"};
// Scalings that are known, but not computed here.
constexpr const char* kOtherScalings[] = {"yarn", "linear", "dynamic", "longrope", "su", "mrope"};

// The object of `key` that counts; null where there is none.
const Json* rope_object(const ConfigReader& config, const char* key, std::string& name) {
  if (!config.has(key)) return nullptr;
  const Json& object = config.at(key);
  if (!object.is_object()) {
    config.fail(config.named(key) + " is " + shown(object) + ", not an object", "correct it");
  }
  name = key;
  const auto is_type = [&](const char* type) { return object.contains(type); };
  if (std::ranges::none_of(kLayerTypes, is_type)) return &object;
  // One entry per type of layer; which layers there are has been checked: all are full_attention.
  if (!object.contains("full_attention") || !object["full_attention"].is_object()) {
    config.fail(config.named(key) + " has no entry for full_attention",
                "use a model whose layers all have full attention");
  }
  name = std::string(key) + ".full_attention";
  return &object["full_attention"];
}

[[noreturn]] void refuse_scaling(const ConfigReader& rope, const char* kind) {
  const std::string type = shown(rope.at(kind));
  const bool known = std::ranges::any_of(kOtherScalings,
                                         [&](const char* other) { return rope.at(kind) == other; });
  if (!known) {
    rope.fail("the rope scaling " + type + " (" + rope.named(kind) + ") is not known",
              "use a model with llama3 rope scaling, or without");
  }
  std::string todo = "use a model with llama3 rope scaling, or without";
  if (rope.has("original_max_position_embeddings")) {
    todo +=
        "; where the model's card says that the scaling is an addition for long texts, take it "
        "out of config.json and set max_position_embeddings to " +
        shown(rope.at("original_max_position_embeddings"));
  }
  rope.fail("the rope scaling " + type + " (" + rope.named(kind) + ") is not supported", todo);
}

ops::Llama3RopeScaling read_llama3(const ConfigReader& rope, const std::string& name) {
  const ops::Llama3RopeScaling s = {
      .factor = rope.number("factor"),
      .low_freq_factor = rope.number("low_freq_factor"),
      .high_freq_factor = rope.number("high_freq_factor"),
      .original_max_position = rope.number("original_max_position_embeddings")};
  if (!(s.factor >= 1) || !(s.high_freq_factor > s.low_freq_factor) ||
      !(s.original_max_position >= 1)) {
    rope.fail("'" + name + "' needs factor >= 1 and high_freq_factor > low_freq_factor",
              "correct the values");
  }
  return s;
}

// Reads all keys beside theta. Every one of them changes the angles: none is passed over.
void read_scaling(const Json& object, const std::string& name, const std::string& where,
                  ops::RopeRule& rule) {
  const ConfigReader rope(object, where, name);
  // "type" is what it was called before.
  const char* kind = rope.has("rope_type") ? "rope_type" : "type";
  const bool typed = rope.has(kind);
  const bool plain = !typed || rope.at(kind) == "default";
  const bool llama3 = typed && rope.at(kind) == "llama3";
  if (!plain && !llama3) refuse_scaling(rope, kind);
  std::set<std::string> known = {"rope_theta", "rope_type", "type", "partial_rotary_factor"};
  // It says nothing about frequencies that are not scaled.
  known.insert("original_max_position_embeddings");
  if (llama3) known.insert(std::begin(kLlama3Keys), std::end(kLlama3Keys));
  for (const auto& [key, value] : object.items()) {
    if (value.is_null() || known.contains(key)) continue;
    const bool of_scaling = key == "factor" || key.ends_with("_factor") || key.starts_with("beta_");
    if (!typed && of_scaling) {
      rope.fail(rope.named(key) + " is there, but no rope_type says what it scales",
                "add rope_type");
    }
    rope.fail(rope.named(key) + " is not supported" +
                  (plain ? " without a rope scaling" : " with llama3 rope scaling"),
              "take it out if it means nothing, or use another model");
  }
  if (rope.number("partial_rotary_factor", 1.0) != 1.0) {
    rope.fail(rope.named("partial_rotary_factor") + " is not supported",
              "use a model that rotates whole heads");
  }
  if (llama3) rule.scaling = read_llama3(rope, name);
}

}  // namespace

ops::RopeRule read_rope(const ConfigReader& config, std::vector<std::string>& notices) {
  std::optional<double> theta;
  if (config.has("rope_theta")) theta = config.number("rope_theta");
  ops::RopeRule rule;
  const Json* read = nullptr;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    std::string name;
    const Json* object = rope_object(config, key, name);
    if (object == nullptr) continue;
    const ConfigReader rope(*object, config.where(), name);
    if (rope.has("rope_theta")) {
      const double inside = rope.number("rope_theta");
      if (theta && *theta != inside) {
        config.fail(config.named("rope_theta") + " is " + shown(*theta) + ", " +
                        rope.named("rope_theta") + " is " + shown(inside),
                    "take the wrong one out");
      }
      theta = inside;
    }
    if (read != nullptr && *read != *object) {
      config.fail("'rope_scaling' and 'rope_parameters' differ", "take the wrong one out");
    }
    read = object;
    read_scaling(*object, name, config.where(), rule);
  }
  if (!theta) {
    notices.push_back("config.json names no rope_theta: " + shown(int(kThetaOfTransformers)) +
                      ", as the transformers library takes it");
  }
  rule.theta = theta.value_or(kThetaOfTransformers);
  return rule;
}

}  // namespace elastron::model

#include "model/weights/rope_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace elastron::model {

namespace {

using Json = nlohmann::json;
using Key = std::string_view;

constexpr double kThetaOfTransformers = 10000.0;
constexpr const char* kOriginal = "original_max_position_embeddings";
constexpr const char* kLayerTypes[] = {"full_attention",   "sliding_attention", "chunked_attention",
                                       "linear_attention", "local_attention",   "global_attention"};

// What a scaling is read with, beside its own keys.
struct Surroundings {
  double original;      // where the scaling names no original length
  double max_position;  // max_position_embeddings
  std::vector<std::string>& notices;
};

struct Scaling {
  ops::RopeScaling rule;
  double covered;  // positions
};

double original_of(const ConfigReader& rope, double missing) {
  const double original = rope.number(kOriginal, missing);
  if (!(original >= 1)) {
    rope.fail(rope.named(kOriginal) + " is " + shown(original) + ", below 1", "correct the value");
  }
  return original;
}

double factor_of(const ConfigReader& rope) {
  const double factor = rope.number("factor");
  if (!(factor >= 1)) {
    rope.fail(rope.named("factor") + " is " + shown(factor) + ", below 1", "correct the value");
  }
  return factor;
}

Scaling read_default(const ConfigReader&, const Surroundings& around) {
  return {{}, around.max_position};
}

Scaling read_linear(const ConfigReader& rope, const Surroundings& around) {
  const double factor = factor_of(rope);
  return {ops::LinearRopeScaling{factor}, factor * original_of(rope, around.max_position)};
}

Scaling read_llama3(const ConfigReader& rope, const Surroundings& around) {
  const ops::Llama3RopeScaling s = {.factor = factor_of(rope),
                                    .low_freq_factor = rope.number("low_freq_factor"),
                                    .high_freq_factor = rope.number("high_freq_factor"),
                                    .original_max_position = original_of(rope, around.original)};
  if (!(s.high_freq_factor > s.low_freq_factor)) {
    rope.fail(rope.named("high_freq_factor") + " is not above low_freq_factor",
              "correct the values");
  }
  return {s, around.max_position};
}

// As transformers takes it: 0 is as good as nothing.
std::optional<double> magnitude(const ConfigReader& rope, const char* key) {
  if (!rope.has(key) || rope.at(key) == 0) return {};
  return rope.number(key);
}

double attention_factor(const ConfigReader& rope, double factor, const Surroundings& around) {
  const double usual = ops::yarn_attention_factor(factor, magnitude(rope, "mscale"),
                                                  magnitude(rope, "mscale_all_dim"));
  if (!std::isfinite(usual)) {
    rope.fail(rope.named("mscale") + " is " + shown(rope.at("mscale")) + ", too large",
              "correct the value");
  }
  const double named = rope.number("attention_factor", usual);
  if (!rope.has("attn_factor")) return named;
  const double other = rope.number("attn_factor");
  if (rope.has("attention_factor") && other != named) {
    rope.fail(
        rope.named("attn_factor") + " is " + shown(other) + ", 'attention_factor' " + shown(named),
        "take the wrong one out");
  }
  around.notices.push_back(
      fmt::format("{} is taken as attention_factor: cos and sin are multiplied by {} (transformers "
                  "passes it over and multiplies by {}); model.rope_scaling can say otherwise",
                  rope.named("attn_factor"), other, usual));
  return other;
}

Scaling read_yarn(const ConfigReader& rope, const Surroundings& around) {
  const double factor = factor_of(rope);
  const ops::YarnRopeScaling s = {.factor = factor,
                                  .original_max_position = original_of(rope, around.original),
                                  .attention_factor = attention_factor(rope, factor, around),
                                  .beta_fast = rope.number("beta_fast", 32),
                                  .beta_slow = rope.number("beta_slow", 1),
                                  .truncate = rope.boolean("truncate", true)};
  if (s.beta_fast < s.beta_slow) {
    rope.fail(rope.named("beta_fast") + " is below beta_slow", "correct the values");
  }
  return {s, s.factor * s.original_max_position};
}

constexpr Key kLinearKeys[] = {"factor"};
constexpr Key kLlama3Keys[] = {"factor", "low_freq_factor", "high_freq_factor"};
constexpr Key kYarnKeys[] = {"factor",    "attention_factor", "attn_factor",    "beta_fast",
                             "beta_slow", "mscale",           "mscale_all_dim", "truncate"};
// Of every type. An original length says nothing about frequencies that are not scaled.
constexpr Key kCommonKeys[] = {"rope_theta", "rope_type", "type", "partial_rotary_factor",
                               kOriginal};

struct RopeType {
  Key name;
  std::span<const Key> keys;
  Scaling (*read)(const ConfigReader&, const Surroundings&);
};
constexpr RopeType kTypes[] = {{"default", {}, read_default},
                               {"linear", kLinearKeys, read_linear},
                               {"llama3", kLlama3Keys, read_llama3},
                               {"yarn", kYarnKeys, read_yarn}};
constexpr const char* kInstead =
    "use a model with default, linear, llama3 or yarn rope scaling, or say with model.rope_scaling "
    "what counts instead";

// Types that are known, and not computed: why.
struct OtherType {
  Key name;
  std::string_view why;
};
constexpr OtherType kOtherTypes[] = {
    {"dynamic", "its frequencies change with the length of each text"},
    {"longrope", "its factors change with the length of each text"},
    {"su", "its factors change with the length of each text"},
    {"mrope", "its positions are those of images"}};

const RopeType& type_of(const ConfigReader& rope) {
  // "type" is what it was called before.
  const char* key = rope.has("rope_type") ? "rope_type" : "type";
  if (!rope.has(key)) return kTypes[0];
  const Json& type = rope.at(key);
  const auto is_it = [&](const auto& row) { return type == row.name; };
  const auto known = std::ranges::find_if(kTypes, is_it);
  if (known != std::end(kTypes)) return *known;
  const auto other = std::ranges::find_if(kOtherTypes, is_it);
  const std::string what = "the rope scaling " + shown(type) + " (" + rope.named(key) + ") is not ";
  if (other == std::end(kOtherTypes)) rope.fail(what + "known", kInstead);
  rope.fail(what + "supported: " + std::string(other->why), kInstead);
}

// Every key beside theta changes the angles: none is passed over.
void check_keys(const ConfigReader& rope, const RopeType& type) {
  const bool typed = rope.has("rope_type") || rope.has("type");
  for (const auto& [key, value] : rope.object().items()) {
    const auto among = [&name = key](std::span<const Key> keys) {
      return std::ranges::find(keys, name) != keys.end();
    };
    if (value.is_null() || among(kCommonKeys) || among(type.keys)) continue;
    if (!typed && (among(kLlama3Keys) || among(kYarnKeys))) {
      rope.fail(rope.named(key) + " is there, but no rope_type says what it scales",
                "add rope_type");
    }
    rope.fail(
        rope.named(key) + " is not supported with " + std::string(type.name) + " rope scaling",
        "take it out if it means nothing, or use another model");
  }
}

void check_rotates_all(const ConfigReader& rope) {
  if (rope.number("partial_rotary_factor", 1.0) == 1.0) return;
  rope.fail(rope.named("partial_rotary_factor") + " is not supported",
            "use a model that rotates whole heads");
}

Scaling read_scaling(const ConfigReader& rope, const Surroundings& around) {
  const RopeType& type = type_of(rope);
  check_keys(rope, type);
  check_rotates_all(rope);
  return type.read(rope, around);
}

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

// What a config.json itself says: the object that counts, if it has one, and theta.
struct Written {
  const Json* object = nullptr;
  std::string name;  // the object's
  std::optional<double> theta;
};

Written find_written(const ConfigReader& config) {
  Written written;
  if (config.has("rope_theta")) written.theta = config.number("rope_theta");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    std::string name;
    const Json* object = rope_object(config, key, name);
    if (object == nullptr) continue;
    const ConfigReader rope(*object, config.where(), name);
    if (rope.has("rope_theta")) {
      const double inside = rope.number("rope_theta");
      if (written.theta && *written.theta != inside) {
        config.fail(config.named("rope_theta") + " is " + shown(*written.theta) + ", " +
                        rope.named("rope_theta") + " is " + shown(inside),
                    "take the wrong one out");
      }
      written.theta = inside;
    }
    if (written.object != nullptr && *written.object != *object) {
      config.fail("'rope_scaling' and 'rope_parameters' differ", "take the wrong one out");
    }
    written.object = object;
    written.name = name;
  }
  return written;
}

// The original length where a scaling has none, and a check where both have one: the transformers
// library would go by the config's.
double usual_original(const ConfigReader& config, const Written& written, double max_position) {
  if (!config.has(kOriginal)) return max_position;
  const double original = config.number(kOriginal);
  if (written.object == nullptr) return original;
  const ConfigReader rope(*written.object, config.where(), written.name);
  if (rope.has(kOriginal) && rope.number(kOriginal) != original) {
    config.fail(config.named(kOriginal) + " is " + shown(original) + ", " + rope.named(kOriginal) +
                    " is " + shown(rope.at(kOriginal)),
                "take the wrong one out");
  }
  return original;
}

Json object_of(const RopeOverride::Keys& keys) {
  Json object = Json::object();
  for (const auto& [key, value] : keys) {
    std::visit([&object, &name = key](const auto& v) { object[name] = v; }, value);
  }
  return object;
}

const std::string& setting() {
  static const std::string name = "model.rope_scaling";
  return name;
}

// The scaling that counts. `theta`: the setting may have another.
Scaling chosen_scaling(const ConfigReader& config, const Written& written,
                       const RopeOverride& instead, const Surroundings& around,
                       std::optional<double>& theta) {
  std::optional<ConfigReader> stored;
  if (written.object != nullptr) stored.emplace(*written.object, config.where(), written.name);
  if (!instead.keys)
    return stored ? read_scaling(*stored, around) : Scaling{{}, around.max_position};
  if (stored) check_rotates_all(*stored);
  const Json object = object_of(*instead.keys);
  const ConfigReader chosen(object, setting(), "rope_scaling");
  if (chosen.has("rope_theta")) theta = chosen.number("rope_theta");
  return read_scaling(chosen, around);
}

}  // namespace

RopeSettings read_rope(const ConfigReader& config, int64_t max_position,
                       const RopeOverride& instead, std::vector<std::string>& notices) {
  Written written = find_written(config);
  const Surroundings around{.original = usual_original(config, written, double(max_position)),
                            .max_position = double(max_position),
                            .notices = notices};
  const Scaling scaling = chosen_scaling(config, written, instead, around, written.theta);
  if (!written.theta) {
    notices.push_back("config.json names no rope_theta: " + shown(int(kThetaOfTransformers)) +
                      ", as the transformers library takes it");
  }
  const ops::RopeRule rule{written.theta.value_or(kThetaOfTransformers), scaling.rule};
  if (std::holds_alternative<ops::YarnRopeScaling>(rule.scaling) && !(rule.theta > 1)) {
    config.fail("'rope_theta' is " + shown(rule.theta) + ", which yarn cannot scale",
                "correct the value");
  }
  constexpr double kMost = std::numeric_limits<int32_t>::max();  // as positions are stored
  return {rule, int64_t(std::min(scaling.covered, kMost))};
}

void check_rope_override(const RopeOverride& rope) {
  if (!rope.keys) return;
  const Json object = object_of(*rope.keys);
  std::vector<std::string> notices;
  const ConfigReader reader(object, setting(), "rope_scaling");
  reader.number("rope_theta", kThetaOfTransformers);
  read_scaling(reader, {.original = 1, .max_position = 1, .notices = notices});
}

namespace {

// The keys as the transformers library calls them, with the original length that counts.
nlohmann::ordered_json scaling_json(const RopeOverride::Keys& keys, const ops::RopeScaling& rule) {
  nlohmann::ordered_json scaling = nlohmann::ordered_json::object();
  for (const auto& [key, value] : keys) {
    const std::string name = key == "type"          ? "rope_type"
                             : key == "attn_factor" ? "attention_factor"
                                                    : key;
    if (key == "rope_theta" || scaling.contains(name)) continue;
    std::visit([&](const auto& v) { scaling[name] = v; }, value);
  }
  scaling.erase(kOriginal);
  if (const auto* llama3 = std::get_if<ops::Llama3RopeScaling>(&rule)) {
    scaling[kOriginal] = int64_t(llama3->original_max_position);
  } else if (const auto* yarn = std::get_if<ops::YarnRopeScaling>(&rule)) {
    scaling[kOriginal] = int64_t(yarn->original_max_position);
  }
  return scaling;
}

}  // namespace

void write_rope(nlohmann::ordered_json& config, const RopeOverride& instead,
                const std::string& where) {
  if (!instead.keys) return;
  const Json before = config;
  const ConfigReader reader(before, where);
  const int64_t max_position =
      reader.integer("max_position_embeddings", 1, std::numeric_limits<int32_t>::max());
  std::vector<std::string> notices;
  const RopeSettings settings = read_rope(reader, max_position, instead, notices);
  auto scaling = scaling_json(*instead.keys, settings.rule.scaling);
  // The library would go by it rather than by the scaling's own.
  config.erase(kOriginal);
  if (reader.has("rope_parameters")) {
    if (!scaling.contains("rope_type")) scaling["rope_type"] = "default";
    scaling["rope_theta"] = settings.rule.theta;
    config["rope_parameters"] = scaling;
    config.erase("rope_scaling");
  } else {
    config["rope_theta"] = settings.rule.theta;
    config["rope_scaling"] = scaling.empty() ? nlohmann::ordered_json() : scaling;
  }
  config["max_position_embeddings"] = std::max(max_position, settings.covered);
}

}  // namespace elastron::model

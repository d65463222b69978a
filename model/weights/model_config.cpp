#include "model/weights/model_config.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/file/input_file.h"
#include "core/json.h"

namespace elastron::model {

namespace {

constexpr size_t kLongestConfig = size_t(1) << 20;
constexpr int64_t kMostExtent = int64_t(1) << 24;
constexpr int64_t kMostTokens = (int64_t(1) << 31) - 1;  // token ids and positions are int32

struct Architecture {
  const char* name;
  bool qk_norm;
  bool sequence_classifier = false;
};
// Parameters have Hugging Face's names in all of them; q_norm and k_norm only where qk_norm is set.
constexpr std::array<Architecture, 4> kArchitectures = {
    {{"Qwen3ForCausalLM", true},
     {"LlamaForCausalLM", false},
     {"Qwen3ForSequenceClassification", true, true},
     {"LlamaForSequenceClassification", false, true}}};

class Reader {
 public:
  Reader(const nlohmann::json& root, std::string where) : root_(root), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& what, const std::string& todo) const {
    throw InputError(what, where_, todo);
  }
  bool has(const char* key) const { return root_.contains(key) && !root_[key].is_null(); }

  int64_t integer(const char* key, int64_t least, int64_t most,
                  std::optional<int64_t> missing = {}) const {
    if (!has(key)) {
      if (missing) return *missing;
      fail(std::string("'") + key + "' is missing",
           "use the config.json of a Qwen3 or Llama model");
    }
    return whole_number(root_[key], key, least, most);
  }
  int64_t whole_number(const nlohmann::json& value, const char* key, int64_t least,
                       int64_t most) const {
    const bool fits = value.is_number_unsigned()
                          ? value.get<uint64_t>() >= uint64_t(std::max<int64_t>(least, 0)) &&
                                value.get<uint64_t>() <= uint64_t(most)
                          : value.is_number_integer() && value.get<int64_t>() >= least;
    if (!fits) {
      fail(std::string("'") + key + "' is not a whole number from " + std::to_string(least) +
               " to " + std::to_string(most),
           "correct the value");
    }
    return value.get<int64_t>();
  }
  double number(const nlohmann::json& object, const char* key, double missing) const {
    if (!object.contains(key) || object[key].is_null()) return missing;
    if (!object[key].is_number() || !(object[key].get<double>() > 0)) {
      fail(std::string("'") + key + "' is not a positive number", "correct the value");
    }
    return object[key].get<double>();
  }
  double number(const char* key, double missing) const { return number(root_, key, missing); }
  bool boolean(const char* key, bool missing) const {
    if (!has(key)) return missing;
    if (!root_[key].is_boolean()) {
      fail(std::string("'") + key + "' is not true or false", "correct the value");
    }
    return root_[key].get<bool>();
  }
  std::string text(const char* key, const char* missing) const {
    if (!has(key)) return missing;
    if (!root_[key].is_string()) {
      fail(std::string("'") + key + "' is not a text", "correct the value");
    }
    return root_[key].get<std::string>();
  }
  void unsupported_if(bool present, const char* key) const {
    if (present) fail(std::string("'") + key + "' is not supported", "use a model without it");
  }

 private:
  const nlohmann::json& root_;
  std::string where_;
};

Architecture read_architecture(const nlohmann::json& root, const Reader& r) {
  std::string supported = "use a model folder of ";
  for (const Architecture& a : kArchitectures) {
    supported += (&a == kArchitectures.data() ? "" : " or ") + std::string(a.name);
  }
  if (!root.contains("architectures") || !root["architectures"].is_array() ||
      root["architectures"].size() != 1 || !root["architectures"][0].is_string()) {
    r.fail("'architectures' is not a list of one name", supported);
  }
  const auto name = root["architectures"][0].get<std::string>();
  const auto found =
      std::ranges::find_if(kArchitectures, [&](const Architecture& a) { return name == a.name; });
  if (found == kArchitectures.end()) {
    r.fail("architecture " + root["architectures"][0].dump() + " is not supported", supported);
  }
  return *found;
}

void refuse_unsupported(const nlohmann::json& root, const Reader& r) {
  r.unsupported_if(r.boolean("attention_bias", false), "attention_bias");
  r.unsupported_if(r.boolean("mlp_bias", false), "mlp_bias");
  r.unsupported_if(r.boolean("use_sliding_window", false), "use_sliding_window");
  r.unsupported_if(r.has("quantization_config"), "quantization_config");
  if (r.has("layer_types")) {
    const auto& types = root["layer_types"];
    const bool all_full =
        types.is_array() &&
        std::ranges::all_of(types, [](const nlohmann::json& t) { return t == "full_attention"; });
    if (!all_full)
      r.fail("'layer_types' names other layers than full_attention", "use a model without them");
  }
  if (r.text("hidden_act", "silu") != "silu") {
    r.fail("'hidden_act' is not silu", "use a model with SwiGLU");
  }
}

// Older files have rope_theta and rope_scaling, newer ones both in rope_parameters.
void read_rope(const nlohmann::json& root, const Reader& r, ModelConfig& c) {
  c.rope.theta = r.number("rope_theta", 10000.0);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!r.has(key)) continue;
    const auto& rope = root[key];
    if (!rope.is_object()) r.fail(std::string("'") + key + "' is not an object", "correct it");
    c.rope.theta = r.number(rope, "rope_theta", c.rope.theta);
    // "type" is what it was called before.
    const char* kind = rope.contains("rope_type") ? "rope_type" : "type";
    if (!rope.contains(kind) || rope[kind] == "default") continue;
    if (rope[kind] != "llama3") {
      r.fail(std::string("the ") + kind + " " + rope[kind].dump() + " of '" + key +
                 "' is not supported",
             "use a model with llama3 rope scaling, or without");
    }
    for (const char* needed :
         {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
      if (!rope.contains(needed)) {
        r.fail(std::string("'") + needed + "' of '" + key + "' is missing", "add it");
      }
    }
    const ops::Llama3RopeScaling s = {
        .factor = r.number(rope, "factor", 0),
        .low_freq_factor = r.number(rope, "low_freq_factor", 0),
        .high_freq_factor = r.number(rope, "high_freq_factor", 0),
        .original_max_position = r.number(rope, "original_max_position_embeddings", 0)};
    if (!(s.factor >= 1) || !(s.high_freq_factor > s.low_freq_factor) ||
        !(s.original_max_position >= 1)) {
      r.fail(std::string("'") + key + "' needs factor >= 1 and high_freq_factor > low_freq_factor",
             "correct the values");
    }
    c.rope.scaling = s;
  }
}

std::vector<int32_t> read_eos(const nlohmann::json& root, const Reader& r, int64_t vocab_size) {
  if (!r.has("eos_token_id") || !root["eos_token_id"].is_array()) {
    return {int32_t(r.integer("eos_token_id", 0, vocab_size - 1))};
  }
  const auto& list = root["eos_token_id"];
  if (list.empty())
    r.fail("'eos_token_id' is an empty list", "name the token that ends a document");
  for (const auto& id : list) r.whole_number(id, "eos_token_id", 0, vocab_size - 1);
  return list.get<std::vector<int32_t>>();
}

DType read_dtype(const Reader& r) {
  const std::string name = r.text("torch_dtype", r.text("dtype", "float32").c_str());
  if (name == "float32" || name == "float16") return DType::f32;
  if (name == "bfloat16") return DType::bf16;
  r.fail("'torch_dtype' is not float32, bfloat16 or float16", "convert the weights");
}

}  // namespace

ModelConfig parse_model_config(std::string_view json, const std::string& where) {
  const auto root = parse_json_strict(json, where, {.max_bytes = kLongestConfig, .max_depth = 16});
  if (!root.is_object()) {
    throw InputError("the file is not a JSON object", where, "use a config.json");
  }
  const Reader r(root, where);
  const Architecture architecture = read_architecture(root, r);
  ModelConfig c;
  c.architecture = architecture.name;
  c.qk_norm = architecture.qk_norm;
  c.sequence_classifier = architecture.sequence_classifier;
  c.hidden_size = r.integer("hidden_size", 1, kMostExtent);
  c.intermediate_size = r.integer("intermediate_size", 1, kMostExtent);
  c.num_layers = r.integer("num_hidden_layers", 1, 4096);
  c.q_heads = r.integer("num_attention_heads", 1, 65536);
  c.kv_heads = r.integer("num_key_value_heads", 1, 65536, c.q_heads);
  if (c.q_heads % c.kv_heads != 0) {
    r.fail("'num_key_value_heads' does not divide 'num_attention_heads'", "correct the heads");
  }
  if (!r.has("head_dim") && c.hidden_size % c.q_heads != 0) {
    r.fail("'num_attention_heads' does not divide 'hidden_size'", "give head_dim");
  }
  c.head_dim = r.integer("head_dim", 2, 256, c.hidden_size / c.q_heads);
  if (c.head_dim % 2 != 0 || c.head_dim < 2 || c.head_dim > 256) {
    r.fail("'head_dim' is not an even number from 2 to 256", "use another model");
  }
  c.vocab_size = r.integer("vocab_size", 1, kMostTokens);
  c.max_position_embeddings = r.integer("max_position_embeddings", 1, kMostTokens);
  c.rms_norm_eps = r.number("rms_norm_eps", 1e-6);
  read_rope(root, r, c);
  c.initializer_range = r.number("initializer_range", 0.02);
  c.tie_word_embeddings = r.boolean("tie_word_embeddings", false);
  c.eos_token_ids = read_eos(root, r, c.vocab_size);
  c.eos_token_id = c.eos_token_ids.front();
  if (r.has("bos_token_id")) {
    c.bos_token_id = int32_t(r.integer("bos_token_id", 0, c.vocab_size - 1));
  }
  if (r.has("pad_token_id") && root["pad_token_id"] != -1) {
    c.pad_token_id = int32_t(r.integer("pad_token_id", 0, c.vocab_size - 1));
  }
  c.dtype = read_dtype(r);
  refuse_unsupported(root, r);
  return c;
}

ModelConfig read_model_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  return parse_model_config(read_small_file(path, kLongestConfig), path);
}

}  // namespace elastron::model

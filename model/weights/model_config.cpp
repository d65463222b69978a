#include "model/weights/model_config.h"

#include <fstream>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "core/json.h"

namespace elastron::model {

namespace {

class Reader {
 public:
  Reader(const nlohmann::json& root, std::string where) : root_(root), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& what, const std::string& todo) const {
    throw InputError(what, where_, todo);
  }

  int64_t integer(const char* key, int64_t least, std::optional<int64_t> missing = {}) const {
    const auto it = root_.find(key);
    if (it == root_.end() || it->is_null()) {
      if (missing) return *missing;
      fail("'" + std::string(key) + "' is missing", "use the config.json of a Qwen3 model");
    }
    constexpr int64_t kMost = int64_t(1) << 40;
    if (!it->is_number_integer() || it->get<int64_t>() < least || it->get<int64_t>() > kMost) {
      fail("'" + std::string(key) + "' is not an integer of at least " + std::to_string(least),
           "correct the value");
    }
    return it->get<int64_t>();
  }
  double number(const char* key, double missing) const {
    const auto it = root_.find(key);
    if (it == root_.end() || it->is_null()) return missing;
    if (!it->is_number() || !(it->get<double>() > 0)) {
      fail("'" + std::string(key) + "' is not a positive number", "correct the value");
    }
    return it->get<double>();
  }
  bool boolean(const char* key, bool missing) const {
    const auto it = root_.find(key);
    if (it == root_.end() || it->is_null()) return missing;
    if (!it->is_boolean()) {
      fail("'" + std::string(key) + "' is not true or false", "correct the value");
    }
    return it->get<bool>();
  }
  void unsupported_if(bool present, const std::string& what) const {
    if (present) fail(what + " is not supported", "use a Qwen3 model without it");
  }
  bool has(const char* key) const { return root_.contains(key) && !root_[key].is_null(); }

 private:
  const nlohmann::json& root_;
  std::string where_;
};

}  // namespace

ModelConfig parse_model_config(std::string_view json, const std::string& where) {
  const auto root = parse_json_strict(json, where, {.max_bytes = size_t(1) << 20, .max_depth = 16});
  if (!root.is_object()) {
    throw InputError("the file is not a JSON object", where, "use a config.json");
  }
  const Reader r(root, where);
  ModelConfig c;
  const auto& architectures = root.contains("architectures") ? root["architectures"] : root;
  if (!architectures.is_array() || architectures.size() != 1 ||
      architectures[0] != c.architecture) {
    r.fail("'architectures' is not [\"" + c.architecture + "\"]", "use a Qwen3 model folder");
  }
  c.hidden_size = r.integer("hidden_size", 1);
  c.intermediate_size = r.integer("intermediate_size", 1);
  c.num_layers = r.integer("num_hidden_layers", 1);
  c.q_heads = r.integer("num_attention_heads", 1);
  c.kv_heads = r.integer("num_key_value_heads", 1, c.q_heads);
  c.head_dim = r.integer("head_dim", 2, c.hidden_size / c.q_heads);
  c.vocab_size = r.integer("vocab_size", 1);
  c.max_position_embeddings = r.integer("max_position_embeddings", 1);
  c.rms_norm_eps = r.number("rms_norm_eps", 1e-6);
  c.rope_theta = r.number("rope_theta", 10000.0);
  c.initializer_range = r.number("initializer_range", 0.02);
  c.tie_word_embeddings = r.boolean("tie_word_embeddings", false);
  // A list means several end tokens; the first one ends documents in training.
  if (r.has("eos_token_id") && root["eos_token_id"].is_array()) {
    const auto& list = root["eos_token_id"];
    if (list.empty() || !list[0].is_number_integer()) {
      r.fail("'eos_token_id' is not a token id", "correct the value");
    }
    c.eos_token_id = list[0].get<int32_t>();
  } else {
    c.eos_token_id = int32_t(r.integer("eos_token_id", 0));
  }

  r.unsupported_if(r.boolean("attention_bias", false), "attention_bias");
  r.unsupported_if(r.has("rope_scaling"), "rope_scaling");
  r.unsupported_if(r.boolean("use_sliding_window", false), "use_sliding_window");
  if (r.has("hidden_act") && root["hidden_act"] != "silu") {
    r.fail("'hidden_act' is not silu", "use a Qwen3 model");
  }
  if (c.q_heads % c.kv_heads != 0) {
    r.fail("num_key_value_heads does not divide num_attention_heads", "correct the heads");
  }
  if (c.head_dim % 2 != 0 || c.head_dim > 256) {
    r.fail("head_dim must be even and at most 256", "use another model");
  }
  if (c.eos_token_id >= c.vocab_size) {
    r.fail("eos_token_id is outside the vocabulary", "correct the value");
  }
  return c;
}

ModelConfig read_model_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw InputError("cannot read the model's config", path,
                     "set model.path to a Hugging Face model folder");
  }
  std::ostringstream text;
  text << in.rdbuf();
  return parse_model_config(text.str(), path);
}

}  // namespace elastron::model

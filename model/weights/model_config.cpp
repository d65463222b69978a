#include "model/weights/model_config.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/file/input_file.h"
#include "core/json.h"
#include "core/log.h"
#include "model/weights/config_keys.h"
#include "model/weights/config_reader.h"
#include "model/weights/rope_settings.h"
#include "model/weights/stop_tokens.h"

namespace elastron::model {

namespace {

constexpr size_t kLongestConfig = size_t(1) << 20;
constexpr int64_t kMostExtent = int64_t(1) << 24;
constexpr int64_t kMostTokens = (int64_t(1) << 31) - 1;  // token ids and positions are int32

// A family of decoders: what differs between them, beside the numbers of a config.json. Its
// architectures are <stem>ForCausalLM and <stem>ForSequenceClassification; parameters have Hugging
// Face's names (model/layer_shape.h).
struct Family {
  std::string_view stem;
  std::string_view model_type;
  bool qk_norm = false;
  bool qkv_bias = false;
  // Where head_dim is missing, as the transformers library takes it; 0: hidden_size over the heads.
  int64_t head_dim = 0;
  // Queries see a window of keys unless config.json's sliding_window is null; also where it is
  // missing.
  bool window = false;
  bool experts = false;
};
constexpr Family kFamilies[] = {
    {.stem = "Qwen3", .model_type = "qwen3", .qk_norm = true, .head_dim = 128},
    {.stem = "Llama", .model_type = "llama"},
    {.stem = "Qwen2", .model_type = "qwen2", .qkv_bias = true},
    {.stem = "Mistral", .model_type = "mistral", .window = true},
    {.stem = "Qwen3Moe", .model_type = "qwen3_moe", .qk_norm = true, .experts = true},
};

struct Head {
  std::string_view suffix;
  bool sequence_classifier;
};
constexpr Head kHeads[] = {{"ForCausalLM", false}, {"ForSequenceClassification", true}};

struct Architecture {
  const Family& family;
  const Head& head;
  std::string name() const { return std::string(family.stem) + std::string(head.suffix); }
};

std::vector<Architecture> architectures() {
  std::vector<Architecture> all;
  for (const Head& head : kHeads) {
    for (const Family& family : kFamilies) all.push_back({family, head});
  }
  return all;
}

Architecture read_architecture(const ConfigReader& r) {
  const auto known = architectures();
  std::string supported = "use a model folder of ";
  for (const Architecture& a : known) supported += (&a == known.data() ? "" : " or ") + a.name();
  if (!r.has("architectures") || !r.at("architectures").is_array() ||
      r.at("architectures").size() != 1 || !r.at("architectures")[0].is_string()) {
    r.fail("'architectures' is not a list of one name", supported);
  }
  const auto& name = r.at("architectures")[0].get_ref<const std::string&>();
  const auto found = std::ranges::find(known, name, &Architecture::name);
  if (found == known.end()) {
    r.fail("architecture " + shown(r.at("architectures")[0]) + " is not supported", supported);
  }
  // The transformers library goes by this one.
  const std::string own(found->family.model_type);
  if (const std::string type = r.text("model_type", own.c_str()); type != own) {
    r.fail("'model_type' is " + shown(type) + ", 'architectures' says " + name,
           "correct the one that is wrong");
  }
  return *found;
}

void check_window(const ConfigReader& r) {
  const std::string key = "sliding_window",
                    advice =
                        "use a model without a window; where no text is longer than it, it changes "
                        "nothing and may be set to null";
  if (r.has(key)) r.fail("'" + key + "' (" + shown(r.at(key)) + ") is not supported", advice);
  if (!r.object().contains(key)) {
    r.fail("'" + key + "' is missing, which means a window of 4096 keys", advice);
  }
}

void check_labels(const ConfigReader& r) {
  const int64_t labels = r.integer("num_labels", 0, kMostTokens, 1);
  const bool one_name = !r.has("id2label") || r.at("id2label").size() == 1;
  if (labels == 1 && one_name) return;
  r.fail("the classifier has " +
             std::to_string(labels != 1 ? size_t(labels) : r.at("id2label").size()) + " labels ('" +
             (labels != 1 ? "num_labels" : "id2label") + "')",
         "use a reward model: one label, a score");
}

DType read_dtype(const ConfigReader& r) {
  const std::string name = r.text("torch_dtype", r.text("dtype", "float32").c_str());
  if (name == "float32" || name == "float16") return DType::f32;
  if (name == "bfloat16") return DType::bf16;
  r.fail("'torch_dtype' is not float32, bfloat16 or float16", "convert the weights");
}

}  // namespace

ModelConfig parse_model_config(std::string_view json, const std::string& where,
                               const RopeOverride& rope) {
  const auto root = parse_json_strict(json, where, {.max_bytes = kLongestConfig, .max_depth = 16});
  if (!root.is_object()) {
    throw InputError("the file is not a JSON object", where, "use a config.json");
  }
  const ConfigReader r(root, where);
  const Architecture architecture = read_architecture(r);
  const Family& family = architecture.family;
  ModelConfig c;
  c.where = where;
  c.architecture = architecture.name();
  c.qk_norm = family.qk_norm;
  c.qkv_bias = family.qkv_bias;
  c.sequence_classifier = architecture.head.sequence_classifier;
  c.hidden_size = r.integer("hidden_size", 1, kMostExtent);
  c.intermediate_size = r.integer("intermediate_size", 1, kMostExtent);
  c.num_layers = r.integer("num_hidden_layers", 1, 4096);
  c.q_heads = r.integer("num_attention_heads", 1, 65536);
  c.kv_heads = r.integer("num_key_value_heads", 1, 65536, c.q_heads);
  if (c.q_heads % c.kv_heads != 0) {
    r.fail("'num_key_value_heads' does not divide 'num_attention_heads'", "correct the heads");
  }
  const bool derived = !r.has("head_dim") && family.head_dim == 0;
  if (derived && c.hidden_size % c.q_heads != 0) {
    r.fail("'num_attention_heads' does not divide 'hidden_size'", "give head_dim");
  }
  c.head_dim = r.integer("head_dim", 2, 256, derived ? c.hidden_size / c.q_heads : family.head_dim);
  if (c.head_dim % 2 != 0 || c.head_dim < 2 || c.head_dim > 256) {
    r.fail("'head_dim' is not an even number from 2 to 256", "use another model");
  }
  c.vocab_size = r.integer("vocab_size", 1, kMostTokens);
  c.max_position_embeddings = r.integer("max_position_embeddings", 1, kMostTokens);
  r.refuse_null("rms_norm_eps");
  c.rms_norm_eps = r.number("rms_norm_eps", 1e-6);
  check_config_keys(r, family.experts, c.notices);
  if (family.experts) c.experts = read_experts(r);
  if (family.window) check_window(r);
  if (c.sequence_classifier) check_labels(r);
  const RopeSettings positions = read_rope(r, c.max_position_embeddings, rope, c.notices);
  c.rope = positions.rule;
  c.covered_positions = positions.covered;
  c.initializer_range = r.number("initializer_range", 0.02);
  c.tie_word_embeddings = r.boolean("tie_word_embeddings", false);
  c.eos_token_ids = c.stop_token_ids = read_end_tokens(r, c.vocab_size);
  if (r.has("bos_token_id")) {
    c.bos_token_id = int32_t(r.integer("bos_token_id", 0, c.vocab_size - 1));
  }
  if (r.has("pad_token_id") && r.at("pad_token_id") != -1) {
    c.pad_token_id = int32_t(r.integer("pad_token_id", 0, c.vocab_size - 1));
  }
  c.dtype = read_dtype(r);
  c.fp8_blocks = read_quantization(r);
  return c;
}

namespace {

std::string text_of(const std::vector<int32_t>& ids) { return nlohmann::json(ids).dump(); }

// Where config.json names no end of a text, and which tokens end one beside those that it names.
void read_end_of_text(const std::string& folder, ModelConfig& c) {
  const auto generation = generation_end_tokens(folder, c.vocab_size);
  if (c.eos_token_ids.empty() && !generation.empty()) {
    c.eos_token_ids = generation;
    c.notices.push_back("config.json names no eos_token_id: " + text_of(generation) +
                        " of generation_config.json");
  }
  if (c.eos_token_ids.empty()) {
    c.eos_token_ids = tokenizer_end_tokens(folder, c.vocab_size);
    if (!c.eos_token_ids.empty()) {
      c.notices.push_back("config.json names no eos_token_id: " + text_of(c.eos_token_ids) +
                          ", the eos_token of tokenizer_config.json");
    }
  }
  c.stop_token_ids = c.eos_token_ids;
  for (const int32_t id : generation) {
    if (std::ranges::find(c.stop_token_ids, id) == c.stop_token_ids.end()) {
      c.stop_token_ids.push_back(id);
    }
  }
}

}  // namespace

bool ModelConfig::mlps_divide_over(int64_t ranks) const {
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    const int64_t width = has_experts(layer) ? experts->width : intermediate_size;
    if (width % ranks != 0) return false;
  }
  return true;
}

int32_t ModelConfig::end_of_document() const {
  if (!eos_token_ids.empty()) return eos_token_ids.front();
  throw InputError("no token ends a document: 'eos_token_id' is missing", where,
                   "add it, or generation_config.json or tokenizer_config.json that name it");
}

ModelConfig read_model_config(const std::string& folder, const RopeOverride& rope) {
  const std::string path = folder + "/config.json";
  ModelConfig c = parse_model_config(read_small_file(path, kLongestConfig), path, rope);
  read_end_of_text(folder, c);
  // Several parts of a command read the same folder.
  for (const std::string& notice : c.notices) log_warning_once(folder + ": " + notice);
  return c;
}

ModelConfig read_model_shapes(const std::string& folder) {
  return read_model_config(folder, RopeOverride::none());
}

}  // namespace elastron::model

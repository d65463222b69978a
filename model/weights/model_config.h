// Shapes and constants of a decoder, from a Hugging Face config.json.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "model/weights/expert_config.h"
#include "model/weights/quantization.h"
#include "model/weights/rope_override.h"
#include "ops/rope.h"

namespace elastron::model {

struct ModelConfig {
  std::string architecture = "Qwen3ForCausalLM";
  bool sequence_classifier = false;  // score.weight [1, hidden_size] in place of the LM head
  // Traits of the family, by the architecture's name (model/layer_shape.h reads them).
  bool qk_norm = true;                  // RMSNorm over head_dim of queries and keys
  bool qkv_bias = false;                // on q, k and v
  std::optional<ExpertConfig> experts;  // nothing: no layer has any
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of layers without experts
  int64_t num_layers = 0;
  int64_t q_heads = 0;
  int64_t kv_heads = 0;  // divides q_heads
  int64_t head_dim = 0;  // even
  int64_t vocab_size = 0;
  double rms_norm_eps = 1e-6;
  ops::RopeRule rope;
  bool tie_word_embeddings = false;
  int64_t max_position_embeddings = 0;
  int64_t covered_positions = 0;  // those for which the rope scaling is meant
  double initializer_range = 0.02;
  std::optional<int32_t> bos_token_id, pad_token_id;
  // config.json's, in its order; where it has none, what generation_config.json or
  // tokenizer_config.json say. May be empty: end_of_document() is for what needs one.
  std::vector<int32_t> eos_token_ids;
  // Each ends generation: those, and generation_config.json's.
  std::vector<int32_t> stop_token_ids;
  DType dtype = DType::f32;  // the file's torch_dtype; float16 counts as float32
  // Of the linears of layers that are stored in FP8; nothing: none is.
  std::optional<WeightBlocks> fp8_blocks;
  std::string where;  // the file, for messages
  // Lines that tell a user how the file is read. read_model_config has logged them.
  std::vector<std::string> notices;

  // Whether the MLP of a layer is a choice among experts.
  bool has_experts(int64_t layer) const { return experts && experts->in_layer(layer); }
  // Whether so many ranks can each have a part of every MLP's width.
  bool mlps_divide_over(int64_t ranks) const;
  // Ends a document: the first id. Throws InputError where there is none.
  int32_t end_of_document() const;
  // A classifier's sequences may end with it, behind the token that is scored.
  std::optional<int32_t> classifier_padding() const {
    return sequence_classifier ? pad_token_id : std::nullopt;
  }
};

// Throws InputError naming file and key: a key that is missing, of the wrong type, out of range or
// contradictory, or a variant that is not supported.
//
// Reads a folder: config.json, and what the files beside it say about the end of a text. Each notice
// is logged once per process, however often the folder is read. `rope`: what counts in the place of
// the folder's rope scaling.
ModelConfig read_model_config(const std::string& folder, const RopeOverride& rope = {});
// Reads the text of a config.json alone.
ModelConfig parse_model_config(std::string_view json, const std::string& where,
                               const RopeOverride& rope = {});
// For shapes and tokens: whatever scaling the folder has, `rope` is without one.
ModelConfig read_model_shapes(const std::string& folder);

}  // namespace elastron::model

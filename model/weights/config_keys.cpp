#include "model/weights/config_keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "model/weights/expert_config.h"

namespace elastron::model {

namespace {

using Json = nlohmann::json;

// Keys that say nothing about what is computed here, and why not.
struct HarmlessKeys {
  std::string_view why;
  std::span<const std::string_view> keys;
};

// Keys of other kinds of models. One that is null, false, 0 or empty asks for nothing; a factor of
// `neutral` neither.
struct Refused {
  std::string_view key;
  double neutral = 0;
  std::string_view advice = "use a model without it";
};
constexpr Refused kRefused[] = {
    // biases and norms
    {"attention_bias"},
    {"qkv_bias"},
    {"use_qkv_bias"},
    {"mlp_bias"},
    {"lm_head_bias"},
    {"use_bias"},
    {"clip_qkv"},
    {"use_layernorm"},
    // which keys a query sees
    {"use_sliding_window", 0,
     "use a model without it; where no text is longer than 'sliding_window' it changes nothing and "
     "may be set to false"},
    {"sliding_window_pattern"},
    {"attention_chunk_size"},
    {"no_rope_layers"},
    {"no_rope_layer_interval"},
    {"use_bidirectional_attention"},
    {"linear_num_key_heads"},
    {"attention_sinks"},
    {"q_lora_rank"},
    {"kv_lora_rank"},
    // positions
    {"partial_rotary_factor", 1},
    {"rotary_pct", 1},
    {"rope_interleave"},
    {"rope_interleaved"},
    {"alibi"},
    {"use_mrope"},
    {"attn_temperature_tuning"},
    // factors
    {"attn_logit_softcapping"},
    {"final_logit_softcapping"},
    {"query_pre_attn_scalar"},
    {"logit_scale", 1},
    {"logits_scaling", 1},
    {"embedding_multiplier", 1},
    {"attention_multiplier"},
    {"residual_multiplier", 1},
    {"scale_emb", 1},
    {"scale_depth"},
    {"dim_model_base"},
    // mixtures of experts, where the family has none
    {"num_experts"},
    {"num_local_experts"},
    {"n_routed_experts"},
    {"moe_intermediate_size"},
    // other models altogether
    {"is_encoder_decoder"},
    {"add_cross_attention"},
    {"vision_config"},
    {"text_config"},
    {"audio_config"},
    {"num_nextn_predict_layers"},
    {"compression_config"},
};

// Keys that are read, here or where a part of the file is: a value that cannot be is an error there.
constexpr std::string_view kRead[] = {"architectures",
                                      "model_type",
                                      "hidden_size",
                                      "intermediate_size",
                                      "num_hidden_layers",
                                      "num_attention_heads",
                                      "num_key_value_heads",
                                      "head_dim",
                                      "vocab_size",
                                      "max_position_embeddings",
                                      "rms_norm_eps",
                                      "rope_theta",
                                      "rope_scaling",
                                      "rope_parameters",
                                      "initializer_range",
                                      "tie_word_embeddings",
                                      "eos_token_id",
                                      "bos_token_id",
                                      "pad_token_id",
                                      "torch_dtype",
                                      "dtype",
                                      "layer_types",
                                      "hidden_act",
                                      "quantization_config",
                                      "num_labels",
                                      "id2label",
                                      "label2id",
                                      "is_causal",
                                      "auto_map"};

constexpr std::string_view kOtherLayers[] = {"sliding_window", "max_window_layers"};
constexpr std::string_view kSameResult[] = {"pretraining_tp",
                                            "attn_implementation",
                                            "_attn_implementation",
                                            "_attn_implementation_autoset",
                                            "_attn_implementation_internal",
                                            "experts_implementation",
                                            "_experts_implementation",
                                            "use_cache",
                                            "chunk_size_feed_forward"};
constexpr std::string_view kTraining[] = {
    "attention_dropout", "hidden_dropout", "classifier_dropout",   "embd_pdrop",
    "resid_pdrop",       "problem_type",   "finetuning_task",      "task_specific_params",
    "tf_legacy_loss",    "use_bfloat16",   "router_aux_loss_coef", "output_router_logits"};
constexpr std::string_view kBookkeeping[] = {"transformers_version",
                                             "_name_or_path",
                                             "name_or_path",
                                             "_commit_hash",
                                             "tokenizer_class",
                                             "prefix",
                                             "output_attentions",
                                             "output_hidden_states",
                                             "output_scores",
                                             "return_dict",
                                             "return_dict_in_generate",
                                             "torchscript",
                                             "unsloth_fixed",
                                             "unsloth_version",
                                             "unsloth_training",
                                             "model_max_length",
                                             "seq_length",
                                             "max_sequence_length",
                                             "mean",
                                             "std"};
constexpr std::string_view kOtherModels[] = {
    "pruned_heads", "tie_encoder_decoder", "is_decoder",    "cross_attention_hidden_size",
    "sep_token_id", "cls_token_id",        "mask_token_id", "decoder_start_token_id"};
constexpr std::string_view kGeneration[] = {"max_length",
                                            "min_length",
                                            "max_new_tokens",
                                            "do_sample",
                                            "early_stopping",
                                            "num_beams",
                                            "num_beam_groups",
                                            "diversity_penalty",
                                            "temperature",
                                            "top_k",
                                            "top_p",
                                            "typical_p",
                                            "repetition_penalty",
                                            "length_penalty",
                                            "no_repeat_ngram_size",
                                            "encoder_no_repeat_ngram_size",
                                            "num_return_sequences",
                                            "forced_bos_token_id",
                                            "forced_eos_token_id",
                                            "remove_invalid_values",
                                            "exponential_decay_length_penalty",
                                            "suppress_tokens",
                                            "begin_suppress_tokens",
                                            "bad_words_ids"};
constexpr HarmlessKeys kHarmless[] = {
    {"of layers with a window, which use_sliding_window and layer_types refuse", kOtherLayers},
    {"another way to compute the same", kSameResult},
    {"of training elsewhere: dropout and losses", kTraining},
    {"what is written down and returned", kBookkeeping},
    {"of encoders and of models with an encoder, which are refused", kOtherModels},
    {"of generation, which older folders wrote here; generation_config.json is not read for them "
     "either",
     kGeneration},
};

bool is_read(std::string_view key, bool experts) {
  return std::ranges::find(kRead, key) != std::end(kRead) ||
         (experts && std::ranges::find(kExpertKeys, key) != std::end(kExpertKeys));
}

bool asks_for_nothing(const Json& value, double neutral) {
  if (value.is_null() || value == false) return true;
  if (value.is_number()) return value.get<double>() == 0 || value.get<double>() == neutral;
  return (value.is_structured() || value.is_string()) && value.empty();
}

void check_layers(const ConfigReader& c) {
  if (!c.has("layer_types")) return;
  const Json& types = c.at("layer_types");
  const auto full = [](const Json& t) { return t == "full_attention"; };
  if (!types.is_array() || !std::ranges::all_of(types, full)) {
    c.fail("'layer_types' names other layers than full_attention", "use a model without them");
  }
}

}  // namespace

std::string_view why_harmless(std::string_view key) {
  for (const HarmlessKeys& harmless : kHarmless) {
    if (std::ranges::find(harmless.keys, key) != harmless.keys.end()) return harmless.why;
  }
  return "";
}

void check_config_keys(const ConfigReader& c, bool experts, std::vector<std::string>& notices) {
  check_layers(c);
  c.refuse_null("hidden_act");
  if (c.text("hidden_act", "silu") != "silu") {
    c.fail("'hidden_act' is " + shown(c.at("hidden_act")) + ", not silu",
           "use a model with SwiGLU");
  }
  if (!c.boolean("is_causal", true)) {
    c.fail("'is_causal' is false: its tokens see those after them", "use a causal language model");
  }
  std::vector<std::string> unknown;
  for (const auto& [key, value] : c.object().items()) {
    if (is_read(key, experts) || !why_harmless(key).empty()) continue;
    const auto refused = std::ranges::find(kRefused, key, &Refused::key);
    if (refused == std::end(kRefused)) {
      // Whatever it is, null, false and empty lists ask for nothing.
      const bool nothing =
          value.is_null() || value == false || (value.is_structured() && value.empty());
      if (!nothing) unknown.push_back(shown(key));
    } else if (!asks_for_nothing(value, refused->neutral)) {
      c.fail("'" + key + "' (" + shown(value) + ") is not supported", std::string(refused->advice));
    }
  }
  if (c.has("auto_map")) {
    notices.push_back(
        "config.json names code of its own ('auto_map'), which is not run: the model is computed "
        "as its architecture is known here");
  }
  constexpr size_t kMost = 8;
  if (unknown.empty()) return;
  const size_t more = unknown.size() - std::min(unknown.size(), kMost);
  unknown.resize(unknown.size() - more);
  notices.push_back(
      fmt::format("config.json has keys that are not known here and are passed over: {}{}",
                  fmt::join(unknown, ", "), more == 0 ? "" : fmt::format(" and {} more", more)));
}

}  // namespace elastron::model

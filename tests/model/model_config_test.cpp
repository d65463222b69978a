// config.json and the files beside it: what published folders say is read without a word, what
// would change the computation is refused by name, and where it is silent the transformers
// library's rule counts.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "core/error.h"
#include "core/file/safetensors.h"
#include "core/json.h"
#include "model/weights/config_keys.h"
#include "model/weights/model_folder.h"
#include "tests/support/scratch.h"

namespace elastron::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kPublished = std::string(ELASTRON_TEST_FIXTURES) + "/published_configs";
const std::string kShipped = std::string(ELASTRON_SOURCE_DIR) + "/configs/models";
const std::string kDecoder = std::string(ELASTRON_TEST_FIXTURES) + "/decoder";

Json read(const std::string& path) {
  std::ifstream in(path);
  return Json::parse(in);
}

Json qwen() { return read(kPublished + "/Qwen3-1.7B/config.json"); }
Json llama() { return read(kShipped + "/Llama-3.1-8B-Instruct/config.json"); }

// `base` with the keys of `changes`; null takes one out.
Json with(Json base, const Json& changes) {
  for (const auto& [key, value] : changes.items()) {
    base.erase(key);
    if (!value.is_null()) base[key] = value;
  }
  return base;
}

ModelConfig parse(const Json& config) { return parse_model_config(config.dump(), "config.json"); }

void expect_refused(const Json& config, const std::vector<std::string>& fragments) {
  try {
    parse(config);
    ADD_FAILURE() << "taken: " << config.dump();
  } catch (const InputError& e) {
    for (const std::string& f : fragments) {
      EXPECT_NE(std::string(e.what()).find(f), std::string::npos) << f << "\n" << e.what();
    }
  }
}

class Folder : public test::Scratch {
 public:
  void write(const std::string& name, const Json& content) const {
    Scratch::write(name, content.dump());
  }
};

TEST(ModelConfig, PublishedFoldersAreReadWithoutAWord) {
  for (const auto& folder : {kPublished, kShipped}) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const ModelConfig m = read_model_config(entry.path().string());
      EXPECT_EQ(m.notices, std::vector<std::string>{}) << entry.path();
    }
  }
  const ModelConfig small = read_model_config(kPublished + "/Qwen3-1.7B");
  EXPECT_EQ(small.rope.theta, 1e6);
  EXPECT_EQ(small.max_position_embeddings, 40960);
  EXPECT_EQ(read_model_config(kPublished + "/Qwen3-4B-2507").rope.theta, 5e6);
  const ModelConfig l = read_model_config(kShipped + "/Llama-3.1-8B-Instruct");
  EXPECT_EQ(l.rope.theta, 5e5);
  EXPECT_EQ(std::get<ops::Llama3RopeScaling>(l.rope.scaling).original_max_position, 8192);
  EXPECT_EQ(l.max_position_embeddings, 131072);
  EXPECT_EQ(l.head_dim, 128);
}

// What differs between the families, beside numbers.
TEST(ModelConfig, FamiliesHaveTheirTraits) {
  const ModelConfig qwen3 = parse(qwen()), plain = parse(llama());
  EXPECT_TRUE(qwen3.qk_norm && !qwen3.qkv_bias);
  EXPECT_TRUE(!plain.qk_norm && !plain.qkv_bias);
  const Json published = read(kShipped + "/Qwen2.5-7B-Instruct/config.json");
  const ModelConfig qwen2 = parse(published);
  EXPECT_TRUE(!qwen2.qk_norm && qwen2.qkv_bias);
  EXPECT_EQ(qwen2.head_dim, 128);  // hidden_size over the heads
  EXPECT_EQ(qwen2.kv_heads, 4);
  EXPECT_EQ(qwen2.rope.theta, 1e6);
  EXPECT_FALSE(qwen2.sequence_classifier);
  EXPECT_TRUE(parse(with(published, {{"architectures", {"Qwen2ForSequenceClassification"}}}))
                  .sequence_classifier);
  expect_refused(with(published, {{"use_sliding_window", true}}),
                 {"'use_sliding_window' (true) is not supported", "'sliding_window'", "false"});
  const Json of_mistral = with(
      llama(),
      {{"architectures", {"MistralForCausalLM"}}, {"model_type", "mistral"}, {"head_dim", 160}});
  Json without_window = of_mistral;
  without_window["sliding_window"] = nullptr;
  const ModelConfig mistral = parse(without_window);
  EXPECT_TRUE(!mistral.qk_norm && !mistral.qkv_bias);
  EXPECT_EQ(mistral.head_dim, 160);
  EXPECT_TRUE(parse(with(without_window, {{"architectures", {"MistralForSequenceClassification"}}}))
                  .sequence_classifier);
  expect_refused(with(of_mistral, {{"sliding_window", 4096}}), {"'sliding_window' (4096)", "null"});
  expect_refused(of_mistral, {"'sliding_window' is missing", "4096"});
  expect_refused(with(published, {{"architectures", {"Qwen2MoeForCausalLM"}}}),
                 {"Qwen2MoeForCausalLM", "Qwen2ForCausalLM"});
}

Json moe() { return read(kShipped + "/Qwen3-30B-A3B/config.json"); }

TEST(ModelConfig, AMixtureOfExperts) {
  const ModelConfig m = parse(moe());
  ASSERT_TRUE(m.experts);
  EXPECT_EQ(m.experts->count, 128);
  EXPECT_EQ(m.experts->per_token, 8);
  EXPECT_EQ(m.experts->width, 768);
  EXPECT_TRUE(m.experts->normalise && m.qk_norm && !m.qkv_bias);
  EXPECT_TRUE(m.has_experts(0) && m.has_experts(47));
  EXPECT_TRUE(parse(with(moe(), {{"architectures", {"Qwen3MoeForSequenceClassification"}}}))
                  .sequence_classifier);
  const ModelConfig some =
      parse(with(moe(), {{"decoder_sparse_step", 2}, {"mlp_only_layers", {3, 5}}}));
  EXPECT_TRUE(!some.has_experts(0) && some.has_experts(1) && !some.has_experts(3));
  // transformers 5 has another name for their number; missing ones are the library's.
  EXPECT_EQ(
      parse(with(moe(), {{"num_experts", nullptr}, {"num_local_experts", 64}})).experts->count, 64);
  const ModelConfig bare = parse(
      with(moe(),
           {{"num_experts", nullptr}, {"norm_topk_prob", nullptr}, {"mlp_only_layers", nullptr}}));
  EXPECT_EQ(bare.experts->count, 128);
  EXPECT_FALSE(bare.experts->normalise);
  EXPECT_FALSE(parse(with(moe(), {{"num_experts", 0}})).experts);
  EXPECT_FALSE(parse(qwen()).experts);
}

TEST(ModelConfig, ExpertsThatCannotBeAreRefused) {
  expect_refused(with(moe(), {{"num_local_experts", 64}}), {"'num_local_experts'", "num_experts"});
  expect_refused(with(moe(), {{"num_experts_per_tok", 0}}), {"'num_experts_per_tok'", "from 1"});
  expect_refused(with(moe(), {{"num_experts", 4}}), {"'num_experts_per_tok' is 8 of 4 experts"});
  expect_refused(with(moe(), {{"num_experts", 5000}}), {"'num_experts'", "1024"});
  expect_refused(with(moe(), {{"moe_intermediate_size", -1}}), {"'moe_intermediate_size'"});
  expect_refused(with(moe(), {{"decoder_sparse_step", 0}}), {"'decoder_sparse_step'", "from 1"});
  expect_refused(with(moe(), {{"mlp_only_layers", 3}}), {"'mlp_only_layers'", "not a list"});
  expect_refused(with(moe(), {{"mlp_only_layers", {"a"}}}), {"'mlp_only_layers'"});
  expect_refused(with(moe(), {{"norm_topk_prob", 1}}), {"'norm_topk_prob'", "true or false"});
  expect_refused(with(moe(), {{"n_routed_experts", 8}}), {"'n_routed_experts'"});
}

// The first id ends a document; those of generation_config.json end generation too.
TEST(ModelConfig, GenerationConfigAddsTokensThatStop) {
  const ModelConfig m = read_model_config(kPublished + "/Qwen3-1.7B");
  EXPECT_EQ(m.eos_token_ids, std::vector<int32_t>{151645});
  EXPECT_EQ(m.stop_token_ids, (std::vector<int32_t>{151645, 151643}));
  const Folder folder;
  folder.write("config.json", qwen());
  folder.write("generation_config.json", {{"eos_token_id", 7}});
  EXPECT_EQ(read_model_config(folder.path()).stop_token_ids, (std::vector<int32_t>{151645, 7}));
  folder.write("generation_config.json", {{"eos_token_id", nullptr}});
  EXPECT_EQ(read_model_config(folder.path()).stop_token_ids, std::vector<int32_t>{151645});
  folder.write("generation_config.json", {{"eos_token_id", 151936}});
  EXPECT_THROW(read_model_config(folder.path()), InputError);
}

TEST(ModelConfig, AMissingEndIsLookedForBesideIt) {
  const Folder folder;
  folder.write("config.json", with(qwen(), {{"eos_token_id", nullptr}}));
  ModelConfig m = read_model_config(folder.path());
  EXPECT_EQ(m.eos_token_ids, std::vector<int32_t>{});
  EXPECT_THROW(m.end_of_document(), InputError);
  // The id of a text: in the settings themselves, or in the tokenizer.
  folder.write("tokenizer_config.json", {{"eos_token", {{"content", "<end>"}}}});
  EXPECT_EQ(read_model_config(folder.path()).eos_token_ids, std::vector<int32_t>{});
  folder.write("tokenizer.json", {{"added_tokens", {{{"id", 11}, {"content", "<end>"}}}}});
  EXPECT_EQ(read_model_config(folder.path()).end_of_document(), 11);
  folder.write(
      "tokenizer_config.json",
      {{"eos_token", "<end>"}, {"added_tokens_decoder", {{"12", {{"content", "<end>"}}}}}});
  m = read_model_config(folder.path());
  EXPECT_EQ(m.end_of_document(), 12);
  EXPECT_EQ(m.stop_token_ids, std::vector<int32_t>{12});
  ASSERT_EQ(m.notices.size(), 1u);
  EXPECT_NE(m.notices[0].find("tokenizer_config.json"), std::string::npos);
  folder.write("generation_config.json", {{"eos_token_id", {13, 14}}});
  m = read_model_config(folder.path());
  EXPECT_EQ(m.eos_token_ids, (std::vector<int32_t>{13, 14}));
}

TEST(ModelConfig, KeysThatChangeTheComputationAreRefused) {
  const Json changes[] = {{{"attention_bias", true}},
                          {{"mlp_bias", true}},
                          {{"use_sliding_window", true}},
                          {{"layer_types", {"full_attention", "sliding_attention"}}},
                          {{"quantization_config", {{"quant_method", "awq"}}}},
                          {{"hidden_act", "gelu"}},
                          {{"partial_rotary_factor", 0.5}},
                          {{"final_logit_softcapping", 30.0}},
                          {{"attn_logit_softcapping", 50.0}},
                          {{"query_pre_attn_scalar", 256}},
                          {{"logit_scale", 0.25}},
                          {{"rope_interleave", true}},
                          {{"num_experts", 128}},
                          {{"num_local_experts", 8}},
                          {{"is_causal", false}},
                          {{"model_type", "qwen2"}}};
  for (const Json& change : changes) {
    expect_refused(with(qwen(), change), {"'" + change.begin().key() + "'"});
  }
  expect_refused(with(qwen(), {{"quantization_config", {{"quant_method", "awq"}}}}), {"awq"});
  for (const std::string key : {"hidden_act", "rms_norm_eps"}) {
    Json null = qwen();
    null[key] = nullptr;
    expect_refused(null, {"'" + key + "' is null"});
  }
  // What asks for nothing.
  for (const Json& change : {Json{{"partial_rotary_factor", 1.0}}, Json{{"num_experts", 0}},
                             Json{{"logit_scale", 1}}, Json{{"attention_bias", false}},
                             Json{{"pretraining_tp", 2}}, Json{{"attention_dropout", 0.1}}}) {
    EXPECT_TRUE(parse(with(qwen(), change)).notices.empty()) << change;
  }
}

TEST(ModelConfig, WeightsInBlockScaledFp8) {
  const auto with_fp8 = [](const Json& more) {
    Json q = {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"activation_scheme", "dynamic"}};
    q.update(more);
    return with(qwen(), {{"quantization_config", q}});
  };
  EXPECT_FALSE(parse(qwen()).fp8_blocks);
  const auto usual = parse(with_fp8(Json::object())).fp8_blocks;
  ASSERT_TRUE(usual);
  EXPECT_TRUE(usual->out == 128 && usual->in == 128);
  const auto own =
      parse(with_fp8({{"weight_block_size", {64, 32}}, {"modules_to_not_convert", {"lm_head"}}}))
          .fp8_blocks;
  ASSERT_TRUE(own);
  EXPECT_TRUE(own->out == 64 && own->in == 32);
  for (const auto& [key, value] : std::map<std::string, Json>{{"fmt", "e5m2"},
                                                              {"activation_scheme", "static"},
                                                              {"weight_block_size", nullptr},
                                                              {"weight_block_size ", 1},
                                                              {"scale_fmt", "ue8m0"}}) {
    expect_refused(with_fp8({{key, value}}), {"'" + key + "' of 'quantization_config'"});
  }
  expect_refused(with_fp8({{"weight_block_size", {0, 128}}}), {"weight_block_size", "from 1"});
}

TEST(ModelConfig, UnknownKeysAreNamedInOneLine) {
  const auto notices = parse(with(qwen(), {{"a_new_key", 3}, {"another", "x"}})).notices;
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_NE(notices[0].find("\"a_new_key\", \"another\""), std::string::npos) << notices[0];
  const auto code = parse(with(qwen(), {{"auto_map", {{"AutoModel", "x.y"}}}})).notices;
  ASSERT_EQ(code.size(), 1u);
  EXPECT_NE(code[0].find("auto_map"), std::string::npos);
}

// Whatever the transformers library knows of these families: a value that cannot be is met by
// whoever reads the key, or the key is on the list of those that say nothing, with a reason.
TEST(ModelConfig, EveryKeyOfTheLibraryIsReadOrRefusedOrHarmless) {
  struct Base {
    const char* model_type;
    const char* stem;
  };
  const Json all = read(ELASTRON_TEST_FIXTURES "/config_keys.json");
  ASSERT_EQ(all.size(), 2u);
  for (const auto& [version, keys] : all.items()) {
    for (const Base& base : {Base{"llama", "Llama"},
                             {"mistral", "Mistral"},
                             {"qwen2", "Qwen2"},
                             {"qwen3", "Qwen3"},
                             {"qwen3_moe", "Qwen3Moe"}}) {
      ASSERT_GT(keys.at(base.model_type).size(), 25u);
      for (const std::string key : keys.at(base.model_type)) {
        for (const char* head : {"ForCausalLM", "ForSequenceClassification"}) {
          Json config = with(qwen(), {{"architectures", {std::string(base.stem) + head}},
                                      {"model_type", base.model_type},
                                      {"sliding_window", nullptr}});
          config["sliding_window"] = nullptr;
          config[key] = {{"odd", 3}, {"even", 4}};
          SCOPED_TRACE(version + ", " + base.stem + head + ": " + key);
          try {
            const auto notices = parse_model_config(config.dump(), "config.json").notices;
            // A classifier's labels are counted; their names, and what a head of words has of
            // them, say nothing.
            const bool of_labels =
                key == "label2id" || (!std::string(head).ends_with("Classification") &&
                                      (key == "id2label" || key == "num_labels"));
            EXPECT_TRUE(of_labels || !why_harmless(key).empty());
            EXPECT_TRUE(notices.empty()) << notices.front();
          } catch (const InputError& e) {
            EXPECT_NE(std::string(e.what()).find(key), std::string::npos) << e.what();
          }
        }
      }
    }
  }
}

TEST(ModelConfig, MissingKeysAreAsInTheLibrary) {
  EXPECT_EQ(parse(with(qwen(), {{"head_dim", nullptr}})).head_dim, 128);
  // 2048 / 16 is 128 too: a width that tells them apart.
  EXPECT_EQ(parse(with(qwen(), {{"head_dim", nullptr}, {"hidden_size", 1024}})).head_dim, 128);
  EXPECT_EQ(parse(with(llama(), {{"hidden_size", 2048}})).head_dim, 64);
  EXPECT_FALSE(parse(with(qwen(), {{"tie_word_embeddings", nullptr}})).tie_word_embeddings);
}

TEST(ModelConfig, AClassifierHasOneLabel) {
  const Json classifier =
      with(qwen(), {{"architectures", {"Qwen3ForSequenceClassification"}}, {"pad_token_id", 5}});
  EXPECT_EQ(parse(classifier).classifier_padding(), 5);
  EXPECT_EQ(parse(with(qwen(), {{"pad_token_id", 5}})).classifier_padding(), std::nullopt);
  EXPECT_EQ(parse(with(classifier, {{"id2label", {{"0", "LABEL_0"}}}})).hidden_size, 2048);
  expect_refused(with(classifier, {{"id2label", {{"0", "A"}, {"1", "B"}}}}), {"2 labels"});
  expect_refused(with(classifier, {{"num_labels", 2}}), {"2 labels", "num_labels"});
  expect_refused(with(qwen(), {{"architectures", {"Qwen3ForRewardModel"}}}),
                 {"Qwen3ForRewardModel", "Qwen3ForSequenceClassification"});
}

// A folder's weights, with changes.
class Weights : public ::testing::Test {
 protected:
  void SetUp() override {
    const SafetensorsFile file(kDecoder + "/model.safetensors");
    for (const auto& [name, entry] : file.entries()) tensors_[name] = file.read(name, cpu_);
    config_ = read(kDecoder + "/config.json");
  }
  ModelFolder open() {
    folder_.write("config.json", config_);
    write_safetensors(folder_.path() + "/model.safetensors", tensors_);
    return ModelFolder(folder_.path());
  }
  CpuDevice cpu_;
  Folder folder_;
  Json config_;
  std::map<std::string, Tensor> tensors_;
};

// What is stored counts: a head of its own is not replaced by the embedding.
TEST_F(Weights, ATiedHeadThatDiffersIsNotTied) {
  config_["tie_word_embeddings"] = true;
  Tensor head = tensors_["lm_head.weight"];
  tensors_["lm_head.weight"] = tensors_["model.embed_tokens.weight"];
  const ModelFolder same = open();
  EXPECT_TRUE(same.config().tie_word_embeddings);
  tensors_.erase("lm_head.weight");
  const ModelFolder none = open();
  EXPECT_TRUE(none.config().tie_word_embeddings);
  EXPECT_EQ(none.tensor_checksums(0, 1), same.tensor_checksums(0, 1));
  tensors_["lm_head.weight"] = head;
  const ModelFolder other = open();
  EXPECT_FALSE(other.config().tie_word_embeddings);
  EXPECT_NE(other.tensor_checksums(0, 1), same.tensor_checksums(0, 1));
}

// Before anything is allocated, whatever the config says.
TEST_F(Weights, ShapesAreThoseOfTheFiles) {
  config_["vocab_size"] = 1000000000;
  EXPECT_THROW(open(), InputError);
  config_ = read(kDecoder + "/config.json");
  config_["num_hidden_layers"] = 4000;
  EXPECT_THROW(open(), InputError);
}

// A quantised folder with a word of its weights' header instead of another of the same length.
void expect_fp8_refused(const std::string& from, const std::string& to, const std::string& says) {
  const Folder folder;
  const std::string source = ELASTRON_TEST_FIXTURES "/hf/qwen3_fp8";
  fs::copy_file(source + "/config.json", folder.path() + "/config.json");
  std::ifstream in(source + "/model.safetensors", std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  ASSERT_EQ(from.size(), to.size());
  const size_t at = bytes.find(from);
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, from.size(), to);
  std::ofstream(folder.path() + "/model.safetensors", std::ios::binary) << bytes;
  try {
    const ModelFolder opened(folder.path());
    FAIL() << to;
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find(says), std::string::npos) << e.what();
  }
}

TEST(QuantisedWeights, ScalesAreNumbersAndThere) {
  const std::string scale = "model.layers.0.mlp.up_proj.weight_scale_inv";
  expect_fp8_refused(scale + "\":{\"dtype\":\"F32\"", scale + "\":{\"dtype\":\"I32\"",
                     scale + " holds integers");
  expect_fp8_refused(scale, "model.layers.0.mlp.up_proj.weight_scale_abc", "missing " + scale);
}

TEST_F(Weights, BuffersOfOlderFoldersArePassedOver) {
  const std::string before = open().tensor_checksums(0, 1);
  tensors_["model.layers.0.self_attn.rotary_emb.inv_freq"] = Tensor::zeros({4}, DType::f32, cpu_);
  EXPECT_EQ(open().tensor_checksums(0, 1), before);
  tensors_["model.layers.0.self_attn.other"] = Tensor::zeros({4}, DType::f32, cpu_);
  EXPECT_THROW(open(), InputError);
}

}  // namespace
}  // namespace elastron::model

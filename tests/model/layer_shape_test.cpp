// The tables of a layer's linears and norms: what a decoder is made of is what they name, for
// every family, and adapters and files go by the same names.
#include <gtest/gtest.h>

#include <map>

#include "model/decoder.h"

namespace elastron::model {
namespace {

ModelConfig shapes(bool qk_norm, bool qkv_bias) {
  ModelConfig c;
  c.qk_norm = qk_norm;
  c.qkv_bias = qkv_bias;
  c.hidden_size = 12;
  c.intermediate_size = 10;
  c.num_layers = 2;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 6;
  c.vocab_size = 17;
  return c;
}

TEST(LayerShape, IsWhatADecoderIsMadeOf) {
  CpuDevice cpu;
  parallel::SelfCommunicator self("tensor");
  for (const bool qk_norm : {false, true}) {
    for (const bool qkv_bias : {false, true}) {
      const ModelConfig config = shapes(qk_norm, qkv_bias);
      const Decoder decoder(config, {.train_backbone = true, .max_position = 8}, self, cpu);
      std::map<std::string, std::string> made, named;
      for (const Parameter* p : decoder.parameters()) {
        if (p->name.starts_with("model.layers.")) made[p->name] = p->logical_shape.str();
      }
      for (int64_t layer = 0; layer < config.num_layers; ++layer) {
        for (const auto& [name, shape] : layer_tensors(config, layer)) named[name] = shape.str();
      }
      EXPECT_EQ(made, named);
      EXPECT_EQ(named.size(), size_t(2 * (9 + (qk_norm ? 2 : 0) + (qkv_bias ? 3 : 0))));
      EXPECT_EQ(named.contains("model.layers.1.self_attn.k_proj.bias"), qkv_bias);
      EXPECT_EQ(named.contains("model.layers.0.self_attn.q_norm.weight"), qk_norm);
      EXPECT_EQ(named.at("model.layers.1.self_attn.o_proj.weight"), (Shape{12, 24}).str());
      EXPECT_EQ(named.at("model.layers.0.self_attn.v_proj.weight"), (Shape{12, 12}).str());
      EXPECT_EQ(named.at("model.layers.0.mlp.down_proj.weight"), (Shape{12, 10}).str());
    }
  }
}

// Every other layer, but the last.
TEST(LayerShape, ExpertsStandInPlaceOfAnMlp) {
  CpuDevice cpu;
  parallel::SelfCommunicator self("tensor");
  ModelConfig config = shapes(true, false);
  config.num_layers = 4;
  config.experts =
      ExpertConfig{.count = 3, .per_token = 2, .width = 6, .every = 2, .dense_layers = {3}};
  EXPECT_TRUE(config.mlps_divide_over(2));
  EXPECT_FALSE(config.mlps_divide_over(3));  // layers without experts: 10
  Decoder decoder(config, {.max_position = 8}, self, cpu);
  std::map<std::string, std::string> made, named;
  for (const Parameter* p : decoder.parameters()) {
    if (p->name.starts_with("model.layers.")) made[p->name] = p->logical_shape.str();
  }
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const auto& [name, shape] : layer_tensors(config, layer)) named[name] = shape.str();
  }
  EXPECT_EQ(made, named);
  EXPECT_EQ(named.size(), size_t(3 * 11 + 8 + 1 + 3 * 3));
  EXPECT_EQ(named.at("model.layers.1.mlp.gate.weight"), (Shape{3, 12}).str());
  EXPECT_EQ(named.at("model.layers.1.mlp.experts.2.up_proj.weight"), (Shape{6, 12}).str());
  EXPECT_EQ(named.at("model.layers.1.mlp.experts.0.down_proj.weight"), (Shape{12, 6}).str());
  EXPECT_FALSE(named.contains("model.layers.1.mlp.up_proj.weight"));
  EXPECT_TRUE(named.contains("model.layers.3.mlp.up_proj.weight"));
  // What they do not have is an error of its own.
  EXPECT_THROW(Decoder(config, {.train_backbone = true, .max_position = 8}, self, cpu), UsageError);
  EXPECT_THROW(Decoder(config, {.lora = LoraConfig{}, .max_position = 8}, self, cpu), UsageError);
  const Decoder adapted(
      config, {.lora = LoraConfig{.rank = 2, .targets = {"q_proj", "o_proj"}}, .max_position = 8},
      self, cpu);
  EXPECT_EQ(adapted.adapters().size(), 4u * 2 * 2);
}

TEST(LayerShape, AdaptersStandBesideTheLinearsThatAreNamed) {
  CpuDevice cpu;
  parallel::SelfCommunicator self("tensor");
  for (const std::string_view name : kLinearNames) {
    const LoraConfig lora{.rank = 2, .targets = {std::string(name)}};
    const Decoder decoder(shapes(true, true), {.lora = lora, .max_position = 8}, self, cpu);
    ASSERT_EQ(decoder.adapters().size(), 2 * 2u) << name;
    for (const Parameter* p : decoder.adapters()) {
      EXPECT_NE(p->name.find("." + std::string(name) + ".lora_"), std::string::npos) << p->name;
    }
  }
  EXPECT_EQ(linear_names(), "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj");
  EXPECT_EQ(LoraConfig{}.targets.size(), kLayerLinears.size());
}

// Norms start at one, biases at nothing, matrices at random numbers.
TEST(LayerShape, StartingValues) {
  CpuDevice cpu;
  parallel::SelfCommunicator self("tensor");
  Decoder decoder(shapes(true, true), {.dtype = DType::f64, .max_position = 8}, self, cpu);
  decoder.initialise(1);
  for (const Parameter* p : decoder.parameters()) {
    const auto values = p->value.to_vector<double>();
    if (p->value.rank() == 2) {
      EXPECT_NE(values[0], values[1]) << p->name;
      continue;
    }
    const double want = p->name.ends_with(".bias") ? 0 : 1;
    EXPECT_EQ(values, std::vector<double>(values.size(), want)) << p->name;
  }
}

}  // namespace
}  // namespace elastron::model

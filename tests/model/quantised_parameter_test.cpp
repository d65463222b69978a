// A backbone kept in e4m3: what is loaded, on any split over a tensor group, from folders in full
// precision and in FP8, and a decoder with it against one whose weights are the same numbers.
#include "model/quantised_parameter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "core/float8.h"
#include "data/document.h"
#include "model/backbone_parameter.h"
#include "model/decoder.h"
#include "model/router_batch.h"
#include "model/weights/model_folder.h"
#include "ops/dequantise.h"
#include "ops/elementwise.h"
#include "parallel/mesh.h"
#include "parallel/shard.h"
#include "router/layer_routers.h"
#include "tests/support/scratch.h"

namespace elastron::model {
namespace {

std::string folder(const std::string& name) {
  return std::string(ELASTRON_TEST_FIXTURES) + "/hf/" + name;
}

const WeightStorage kFp8{DType::e4m3, WeightBlocks{.out = 25, .in = 21}};

class QuantisedFolder : public ::testing::Test {
 protected:
  std::unique_ptr<Decoder> decoder(const ModelFolder& from, const DecoderOptions& options) {
    auto d = std::make_unique<Decoder>(from.config(), options, mesh_.tensor(), cpu_);
    from.load(d->parameters());
    return d;
  }
  // One matrix of the folder as this part of it is loaded.
  Parameter loaded(const ModelFolder& from, const std::string& name, const Partition& part) {
    std::unique_ptr<Decoder> rest = std::make_unique<Decoder>(
        from.config(), DecoderOptions{.storage = DType::e4m3}, mesh_.tensor(), cpu_);
    ParameterList list = rest->parameters();
    const auto it = std::ranges::find(list, name, &Parameter::name);
    Parameter p =
        parallel::make_sharded_weight(name, (*it)->logical_shape, part, kFp8, false, cpu_);
    *it = &p;
    from.load(list);
    return p;
  }
  CpuDevice cpu_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
};

template <class T>
std::vector<float> as_floats(const Tensor& t) {
  const auto values = (t.contiguous() ? t : t.clone());
  std::vector<float> all;
  for (int64_t i = 0; i < values.numel(); ++i) all.push_back(values.data<T>()[i]);
  return all;
}

// Blocks of 25 x 21, which divide nothing: parts begin and end within blocks.
TEST_F(QuantisedFolder, AnySplitHasTheWholesValuesAndScales) {
  for (const char* name : {"qwen3", "qwen3_fp8"}) {
    const ModelFolder from(folder(name));
    for (const auto& [weight, dim] :
         {std::pair<std::string, int>{"model.layers.0.self_attn.q_proj.weight", 0},
          {"model.layers.1.mlp.down_proj.weight", 1},
          {"model.embed_tokens.weight", 0}}) {
      const Parameter whole = loaded(from, weight, {});
      const Tensor numbers = ops::dequantise(whole.value, whole.scale, DType::f32);
      for (const int ranks : {2, 4}) {
        for (int rank = 0; rank < ranks; ++rank) {
          SCOPED_TRACE(weight + " of " + name + ", rank " + std::to_string(rank));
          const Partition part =
              parallel::ceil_partition(dim, whole.logical_shape[dim], rank, ranks);
          const Parameter p = loaded(from, weight, part);
          const int64_t end = part.offset + part.size;
          EXPECT_EQ(as_floats<e4m3>(p.value),
                    as_floats<e4m3>(whole.value.slice(dim, part.offset, end)));
          EXPECT_EQ(as_floats<float>(ops::dequantise(p.value, p.scale, DType::f32)),
                    as_floats<float>(numbers.slice(dim, part.offset, end)));
        }
      }
    }
  }
}

// Values and scales are those of the file: no rounding at all.
TEST_F(QuantisedFolder, AFolderInFp8IsKeptAsItIs) {
  const ModelFolder from(folder("qwen3_fp8"));
  const SafetensorsFile file(folder("qwen3_fp8") + "/model.safetensors");
  const auto d = decoder(from, {.storage = DType::e4m3});
  int matrices = 0;
  for (const Parameter* p : d->parameters()) {
    if (p->name.find("_proj.") == std::string::npos) continue;
    ++matrices;
    std::vector<std::byte> raw(p->value.bytes());
    file.read_raw(file.entries().at(p->name), 0, raw);
    EXPECT_EQ(std::memcmp(raw.data(), p->value.raw(), raw.size()), 0) << p->name;
    EXPECT_EQ(p->scale.values.to_vector<float>(),
              file.read(scale_name(p->name), cpu_).to_vector<float>());
  }
  EXPECT_EQ(matrices, 2 * 7);
}

// PyTorch's values of the fixture, dequantised and quantised again: the largest of a block is 448 by
// the rule, so that the same values come out, and scales but for their last bit.
TEST_F(QuantisedFolder, QuantisesAsPyTorchDoes) {
  const ModelFolder from(folder("qwen3_fp8"));
  const std::string weight = "model.layers.0.mlp.up_proj.weight";
  const Parameter stored = loaded(from, weight, {});
  const Tensor numbers = ops::dequantise(stored.value, stored.scale, DType::f32);
  Parameter again =
      parallel::make_sharded_weight(weight, stored.logical_shape, {}, kFp8, false, cpu_);
  EXPECT_TRUE(fill_quantised(again, [&](const SafetensorsFile::Window& w, Tensor& out) {
    out.transfer_from(numbers.slice(0, w.r0, w.r1).slice(1, w.c0, w.c1).clone());
  }));
  EXPECT_EQ(as_floats<e4m3>(again.value), as_floats<e4m3>(stored.value));
  const auto a = again.scale.values.to_vector<float>(), b = stored.scale.values.to_vector<float>();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1.2e-7 * b[i]);
}

TEST_F(QuantisedFolder, WhatTrainsOrIsNoMatrixStaysInTheRunsDtype) {
  const ModelFolder from(folder("qwen2"));
  const auto d = decoder(from, {.storage = DType::e4m3});
  for (const Parameter* p : d->parameters()) {
    const bool matrix = p->logical_shape.rank() == 2;
    EXPECT_EQ(p->value.dtype(), matrix ? DType::e4m3 : DType::f32) << p->name;
    EXPECT_EQ(p->scale.defined(), matrix) << p->name;
    EXPECT_EQ(stored_bytes(*p),
              size_t(p->value.numel()) * (matrix ? 1 : 4) + (matrix ? p->scale.values.bytes() : 0));
  }
  const auto wide = decoder(from, {.storage = DType::bf16});
  EXPECT_EQ(wide->parameters()[0]->value.dtype(), DType::bf16);
  EXPECT_FALSE(wide->parameters()[0]->scale.defined());
  Decoder trains(from.config(), {.storage = DType::e4m3, .train_backbone = true}, mesh_.tensor(),
                 cpu_);
  EXPECT_EQ(trains.parameters()[0]->value.dtype(), DType::f32);
  // Adapters are computed with as activations are.
  Decoder adapted(from.config(), {.storage = DType::e4m3, .lora = LoraConfig{}, .train_lora = true},
                  mesh_.tensor(), cpu_);
  for (const Parameter* p : adapted.adapters()) EXPECT_EQ(p->value.dtype(), DType::f32) << p->name;
}

TEST_F(QuantisedFolder, NotANumberIsNamed) {
  for (const char* name : {"qwen3", "qwen3_fp8"}) {
    const test::Scratch scratch;
    std::filesystem::copy(folder(name), scratch.path(), std::filesystem::copy_options::recursive);
    const std::string path = scratch / "model.safetensors",
                      weight = "model.layers.1.mlp.up_proj.weight";
    uint64_t at = 0;
    {
      const SafetensorsFile file(path);
      at = std::filesystem::file_size(path) - 1;
      uint64_t data = 0;
      for (const auto& [n, entry] : file.entries()) data = std::max(data, entry.end);
      at = std::filesystem::file_size(path) - data + file.entries().at(weight).begin;
    }
    std::FILE* file = std::fopen(path.c_str(), "r+b");
    std::fseek(file, long(at), SEEK_SET);
    const unsigned char bad[2] = {0xff, 0xff};  // NaN in bfloat16 and in e4m3
    std::fwrite(bad, 1, 2, file);
    std::fclose(file);
    try {
      decoder(ModelFolder(scratch.path()), {.storage = DType::e4m3});
      ADD_FAILURE() << name;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("not finite: " + weight), std::string::npos)
          << error.what();
    }
  }
}

// A decoder in float64 whose weights are the numbers that values and scales stand for gives the same
// states and the same gradient to the input of its first layer's keys as the one that keeps them in
// e4m3: what a router learns from is the quantised model's own derivative.
TEST_F(QuantisedFolder, ForwardAndGradientAreThoseOfItsNumbers) {
  const ModelFolder from(folder("qwen3"));
  const auto kept = decoder(from, {.dtype = DType::f64, .storage = DType::e4m3});
  const auto plain = decoder(from, {.dtype = DType::f64});
  for (size_t i = 0; i < kept->parameters().size(); ++i) {
    const Parameter& p = *kept->parameters()[i];
    if (p.scale.defined()) {
      plain->parameters()[i]->value.copy_from(ops::dequantise(p.value, p.scale, DType::f64));
    }
  }
  data::Document document;
  for (int i = 0; i < 40; ++i) document.ids.push_back(i * 7 % 67);
  document.user_length = 30;
  const auto batch = data::make_packed_batch({&document});
  const auto device_batch = DeviceBatch::make(batch, cpu_);
  router::RouterConfig config;
  config.pool_budget = 4;
  config.ssa = {.sink = 8, .local = 8, .block = 8};
  struct Result {
    Tensor hidden, logits;
    std::vector<Tensor> gradients;
  };
  const auto run = [&](Decoder& d) {
    const auto& m = d.config();
    router::LayerRouters routers(
        config, {m.num_layers, m.head_dim, {m.kv_heads, 0, m.kv_heads}, data::kTaskCount},
        DType::f64, 3, true, cpu_);
    auto routed = routers.routed();
    const auto router_batch = make_router_batch(batch, config, 0, 1.0, true);
    SavedForward saved;
    Result r;
    r.hidden = d.forward(device_batch, router_batch, routed, {.saved = &saved});
    r.logits = d.logits(r.hidden);
    d.backward(r.hidden.clone(), device_batch, router_batch, routed, saved,
               std::vector<Tensor>(size_t(m.num_layers)), [](Parameter&) {});
    ParameterList list;
    routers.append_parameters(list);
    for (const Parameter* p : list) r.gradients.push_back(p->grad.clone());
    return r;
  };
  const Result a = run(*kept), b = run(*plain);
  const auto expect_close = [](const Tensor& x, const Tensor& y, const char* what) {
    const auto u = x.to_vector<double>(), v = y.to_vector<double>();
    double most = 0;
    for (const double n : v) most = std::max(most, std::abs(n));
    for (size_t i = 0; i < u.size(); ++i) ASSERT_NEAR(u[i], v[i], 1e-11 * most) << what;
    EXPECT_GT(most, 0) << what;
  };
  expect_close(a.hidden, b.hidden, "hidden");
  expect_close(a.logits, b.logits, "logits");
  ASSERT_GT(a.gradients.size(), 3u);
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    expect_close(a.gradients[i], b.gradients[i], "gradient of a router");
  }
}

}  // namespace
}  // namespace elastron::model

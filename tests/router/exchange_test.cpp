// Routers of the published implementation: folders that PyTorch saved (tests/fixtures/
// router_exchange, made by tests/oracle/make_exchange_fixtures.py) decide here as they do there,
// and go back as the same bytes.
#include "router/exchange.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/file/input_file.h"
#include "core/json.h"
#include "ops/boundary_pool.h"
#include "ops/elementwise.h"
#include "router/attention_router.h"
#include "router/layer_routers.h"
#include "router/objective.h"
#include "router/reference_exchange.h"
#include "tests/support/scratch.h"

namespace elastron::router {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTasks = 5, kHeads = 3;

TensorHomes homes_of(const SafetensorsFile& file) {
  TensorHomes homes;
  for (const auto& [name, entry] : file.entries()) homes.emplace(name, &file);
  return homes;
}

// A folder of the fixtures.
struct Folder {
  std::string path;
  std::unique_ptr<SafetensorsFile> alone;
  std::unique_ptr<SafetensorsFolder> weights;
  nlohmann::json config;

  explicit Folder(const std::string& name)
      : path(std::string(ELASTRON_TEST_FIXTURES) + "/router_exchange/" + name) {
    if (fs::exists(path + "/router.safetensors")) {
      alone = std::make_unique<SafetensorsFile>(path + "/router.safetensors");
    } else {
      weights = std::make_unique<SafetensorsFolder>(path);
    }
    config = parse_json_strict(read_small_file(path + "/config.json", 1 << 20), path);
  }
  TensorHomes homes() const { return alone ? homes_of(*alone) : weights->homes(); }
  StoredRouter read(Device& device) const {
    return from_reference(homes(), config, "config.json", kTasks, path, device);
  }
  SafetensorsFile file(const std::string& name) const {
    return SafetensorsFile(path + "/" + name + ".safetensors");
  }
};

void expect_same_bytes(const std::map<std::string, Tensor>& a,
                       const std::map<std::string, Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_EQ(tensor.shape(), b.at(name).shape()) << name;
    EXPECT_EQ(tensor.dtype(), b.at(name).dtype()) << name;
    EXPECT_EQ(std::memcmp(tensor.raw(), b.at(name).raw(), tensor.bytes()), 0) << name;
  }
}

// Expects an InputError with all the fragments.
template <class F>
void expect_refused(const F& read, const std::vector<std::string>& fragments) {
  try {
    read();
    ADD_FAILURE() << "not refused: " << fragments[0];
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ExitCode::input);
    const std::string text = error.what();
    EXPECT_EQ(text.find('\n'), text.npos) << text;
    for (const auto& f : fragments) EXPECT_NE(text.find(f), text.npos) << f << "\n" << text;
  }
}

// Of Flux Attention: a gate per layer, from its queries.
void expect_layers_decide_as_there(const Folder& folder, Device& cpu) {
  const StoredRouter stored = folder.read(cpu);
  ASSERT_EQ(stored.layers(), 2);
  RouterConfig flux = RouterConfig::of(Preset::flux);
  flux.pool_budget = 20;  // its pool_size
  flux.ssa.block = 128;
  EXPECT_EQ(config::dump_config(stored.config), config::dump_config(flux));
  const auto queries = folder.file("keys"), expected = folder.file("expected");
  std::set<int> decided;
  LayerRouters routers(
      stored.config, {.layers = 2, .head_dim = 4, .heads = KvHeads::whole(kHeads), .tasks = kTasks},
      DType::f32, 1, false, cpu);
  ParameterList list;
  routers.append_parameters(list);
  fill_parameters(stored, folder.path, list);
  auto layers = routers.routed();
  for (int64_t i = 0; i < 2; ++i) {
    const std::string layer = std::to_string(i);
    const Tensor q = queries.read("layer_" + layer, cpu);
    RouterBatch batch;
    batch.segments = {{0, q.size(0)}};
    SavedRoute route;
    layers[size_t(i)].decide(q, 1, batch, route);
    const auto logits = expected.read("logits_" + layer, cpu).to_vector<float>();
    const double p = 1 / (1 + std::exp(double(logits[0] - logits[1])));
    EXPECT_NEAR(route.probability.to_vector<float>()[0], p, 2e-5);
    const auto gate = expected.read("gates_" + layer, cpu).to_vector<uint8_t>()[0];
    EXPECT_EQ(route.gate.to_vector<uint8_t>(), std::vector<uint8_t>(kHeads, gate));
    decided.insert(gate);
  }
  EXPECT_EQ(decided.size(), 2u);
}

class Published : public ::testing::TestWithParam<const char*> {};

TEST_P(Published, DecidesAsThere) {
  CpuDevice cpu;
  const Folder folder(GetParam());
  if (std::string(GetParam()) == "flux") return expect_layers_decide_as_there(folder, cpu);
  const StoredRouter stored = folder.read(cpu);
  ASSERT_EQ(stored.layers(), 2);
  EXPECT_EQ(stored.config.ssa.block, 128);
  EXPECT_EQ(stored.config.ssa.local, 2048);
  EXPECT_TRUE(stored.config.reg.enabled);
  EXPECT_EQ(stored.config.task_embedding, std::string(GetParam()) == "shards");

  std::vector<std::unique_ptr<AttentionRouter>> layers;
  ParameterList list;
  const auto keys = folder.file("keys"), expected = folder.file("expected");
  for (int64_t i = 0; i < 2; ++i) {
    layers.push_back(std::make_unique<AttentionRouter>(i, keys.entries().at("layer_0").shape[2],
                                                       kTasks, stored.config, DType::f32, 1, false,
                                                       cpu));
    layers.back()->append_parameters(list);
  }
  fill_parameters(stored, folder.path, list);

  std::vector<int> decided(2, 0);
  for (int64_t i = 0; i < 2; ++i) {
    const std::string layer = std::to_string(i);
    const Tensor k = keys.read("layer_" + layer, cpu);
    const Tensor pooled =
        ops::boundary_pool_forward(k, {{0, k.size(0)}}, {true, stored.config.pool_budget, false});
    const auto logits = layers[size_t(i)]->forward(pooled, nullptr).to_vector<float>();
    const auto want = expected.read("logits_" + layer, cpu).to_vector<float>();
    const auto gates = expected.read("gates_" + layer, cpu).to_vector<uint8_t>();
    const auto classes = size_t(stored.config.classes());
    ASSERT_EQ(logits.size(), want.size());
    ASSERT_EQ(gates.size(), size_t(kHeads));
    for (size_t j = 0; j < want.size(); ++j) EXPECT_NEAR(logits[j], want[j], 2e-5) << layer;
    for (size_t h = 0; h < gates.size(); ++h) {
      const bool full = classes == 2 ? logits[2 * h + 1] > logits[2 * h] : logits[h] > 0;
      EXPECT_EQ(full, gates[h] == 1) << layer << " " << h;
      ++decided[size_t(gates[h])];
    }
  }
  EXPECT_GT(decided[0], 0);
  EXPECT_GT(decided[1], 0);
}

// Names, shapes and bytes are those of PyTorch's state_dict, so that its load_state_dict with
// strict=True takes them.
TEST_P(Published, GoesBackAsTheSameBytes) {
  CpuDevice cpu;
  const Folder folder(GetParam());
  const auto back = to_reference(folder.read(cpu), kHeads, cpu);
  std::map<std::string, Tensor> routing;
  for (const auto& [name, file] : folder.homes()) {
    const bool backbone = name.ends_with("_proj.weight") || name.find("embed_tokens") != name.npos;
    if (!backbone) routing[name] = ops::cast(file->read(name, cpu), DType::f32);
  }
  expect_same_bytes(routing, back);
}

TEST_P(Published, OurNamesAreTheIdentity) {
  CpuDevice cpu;
  const test::Scratch folder;
  const std::string path = folder / "router.safetensors";
  StoredRouter stored = Folder(GetParam()).read(cpu);
  stored.backbone_fingerprint = "abc";
  stored.rope_scaling = R"({"factor":2.5,"rope_type":"yarn","truncate":false})";
  stored.config.reg.targets = {{"Single QA", 0.25}, {"a: 'b'", 1.0}};
  stored.config.reg.lambda_clamp = 1e-7;
  write_safetensors(path, stored.tensors);
  const auto text = settings_json(stored).dump();
  const SafetensorsFile file(path);
  const StoredRouter again = from_logical(
      homes_of(file), read_settings(nlohmann::json::parse(text), "router.json"), kTasks, path, cpu);
  expect_same_bytes(stored.tensors, again.tensors);
  EXPECT_EQ(config::dump_config(stored.config), config::dump_config(again.config));
  EXPECT_EQ(again.backbone_fingerprint, "abc");
  EXPECT_EQ(again.rope_scaling, stored.rope_scaling);
  EXPECT_EQ(settings_json(again).dump(), text);
}

INSTANTIATE_TEST_SUITE_P(Folders, Published,
                         ::testing::Values("alone", "sigmoid", "full_model", "shards", "flux"),
                         [](const auto& test) { return std::string(test.param); });

// The task embedding of the published implementation has a row less than there are tasks.
TEST(Reference, LastRowOfTheEmbeddingIsZero) {
  CpuDevice cpu;
  const StoredRouter stored = Folder("shards").read(cpu);
  const Tensor embedding = stored.tensors.at("router.layers.1.task_embedding.weight");
  ASSERT_EQ(embedding.shape(), (Shape{5, 4}));
  const auto values = embedding.to_vector<float>();
  for (size_t i = 0; i < 16; ++i) EXPECT_NE(values[i], 0.0f);
  for (size_t i = 16; i < 20; ++i) EXPECT_EQ(values[i], 0.0f);
}

TEST(Reference, LearnedTemperatureTravels) {
  CpuDevice cpu;
  StoredRouter stored = Folder("alone").read(cpu);
  stored.config.tau_schedule = TauSchedule::learned;
  stored.config.tau.init = 0.5;
  for (const char* layer : {"0", "1"}) {
    stored.tensors["router.layers." + std::string(layer) + ".log_tau"] =
        Tensor::from(std::vector<float>{-0.25f}, {1}, cpu);
  }
  const auto reference = to_reference(stored, kHeads, cpu);
  const std::string name = "model.layers.1.self_attn.mask_allocator.log_temp";
  EXPECT_EQ(reference.at(name).shape(), Shape{});
  EXPECT_EQ(reference.at(name).to_vector<float>(), std::vector<float>{-0.25f});
}

// Keys that a config.json leaves out have the defaults of its class.
TEST(Reference, MissingKeysAreItsDefaults) {
  CpuDevice cpu;
  Folder folder("sigmoid");
  for (const char* key : {"local_window_size", "pooling_mode", "enable_lambda_task", "use_softmax",
                          "sink_size", "architectures"}) {
    folder.config.erase(key);
  }
  const RouterConfig c = folder.read(cpu).config;
  EXPECT_EQ(c.ssa.sink, 128);
  EXPECT_EQ(c.ssa.local, 1024);
  EXPECT_EQ(c.pool_segment, PoolSegmentKind::first_token);
  EXPECT_FALSE(c.reg.enabled);
  EXPECT_EQ(c.kind, Kind::sigmoid);
  EXPECT_EQ(c.task_widths, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(c.widths, c.task_widths);
}

// The widths alone say whose router it is; others need the settings of an export of ours.
TEST(Reference, WidthsOfNeitherAreRefused) {
  CpuDevice cpu;
  const test::Scratch scratch;
  Folder folder("flux");
  folder.config.erase("pool_size");
  EXPECT_EQ(folder.read(cpu).config.pool_budget, 100);  // its class's default
  StoredRouter stored = folder.read(cpu);
  stored.config.task_widths = {3, 2};
  for (auto& [name, tensor] : stored.tensors) {
    if (name.ends_with("task.0.weight")) tensor = Tensor::zeros({12, 4}, DType::f32, cpu);
    if (name.ends_with("task.0.bias")) tensor = Tensor::zeros({12}, DType::f32, cpu);
    if (name.ends_with("task.2.weight")) tensor = Tensor::zeros({8, 12}, DType::f32, cpu);
  }
  const std::string path = scratch / "router.safetensors";
  write_safetensors(path, to_reference(stored, kHeads, cpu));
  const SafetensorsFile file(path);
  const auto read = [&] {
    return from_reference(homes_of(file), folder.config, "config.json", kTasks, path, cpu);
  };
  expect_refused(read, {"widths are neither"});
  folder.config["elastron_router"] = settings_json(stored);
  EXPECT_EQ(read().config.task_widths, stored.config.task_widths);
  folder.config["pool_size"] = 50;  // not what the settings say
  expect_refused(read, {"contradict"});
}

TEST(Reference, WhatItsCodeDoesInAnotherWay) {
  const auto lines = [](const RouterConfig& c) {
    std::string all;
    for (const std::string& line : reference_differences(c)) all += line + "\n";
    return all;
  };
  RouterConfig flux = RouterConfig::of(Preset::flux), elastic;
  flux.ssa.block = elastic.ssa.block = 128;
  EXPECT_EQ(lines(flux), "");
  EXPECT_EQ(lines(elastic), "");
  flux.input = RouterInput::key;
  flux.task_widths = {4, 1};
  EXPECT_NE(lines(flux).find("read queries"), std::string::npos);
  EXPECT_NE(lines(flux).find("[8, 2]"), std::string::npos);
  elastic.input = RouterInput::query;
  elastic.pool_budget = 150;
  EXPECT_NE(lines(elastic).find("read keys"), std::string::npos);
  EXPECT_NE(lines(elastic).find("first and last 100 tokens"), std::string::npos);
}

TEST(Reference, ConfigurationsThatAreRefused) {
  CpuDevice cpu;
  const auto with = [&](const char* name, const char* key, const nlohmann::json& value) {
    Folder folder(name);
    if (value.is_null()) {
      folder.config.erase(key);
    } else {
      folder.config[key] = value;
    }
    return [folder = std::make_shared<Folder>(std::move(folder)), &cpu] { folder->read(cpu); };
  };
  expect_refused(with("alone", "retrieval_mode", "xattn"), {"xattn", "config.json"});
  expect_refused(with("alone", "toggle_type", nullptr), {"'toggle_type' is missing"});
  expect_refused(with("alone", "toggle_type", 3), {"'toggle_type' is not a text"});
  expect_refused(with("alone", "enable_ada_sparsity", nullptr), {"'enable_ada_sparsity'"});
  expect_refused(with("alone", "use_softmax", nullptr), {"use_softmax", "two outputs"});
  expect_refused(with("sigmoid", "use_softmax", true), {"use_softmax is true", "have one"});
  expect_refused(with("alone", "pooling_mode", "mean"), {"pooling_mode 'mean'"});
  expect_refused(with("alone", "sink_size", -1), {"'sink_size'"});
  expect_refused(with("alone", "local_window_size", 0), {"'local_window_size'"});

  Folder both("alone");
  StoredRouter stored = both.read(cpu);
  both.config["elastron_router"] = settings_json(stored);
  EXPECT_NO_THROW(both.read(cpu));
  both.config["local_window_size"] = 4096;
  expect_refused([&] { both.read(cpu); }, {"contradict"});
}

TEST(Reference, AllThatDoesNotFitIsListed) {
  CpuDevice cpu;
  const test::Scratch folder;
  const Folder good("alone");
  const std::string layer = "model.layers.1.self_attn.mask_allocator.";
  const auto refused = [&](const auto& change, const std::vector<std::string>& fragments) {
    auto tensors = to_reference(good.read(cpu), kHeads, cpu);
    change(tensors);
    const std::string path = folder / "router.safetensors";
    write_safetensors(path, tensors);
    const SafetensorsFile file(path);
    expect_refused(
        [&] { from_reference(homes_of(file), good.config, "config.json", kTasks, path, cpu); },
        fragments);
  };
  using Tensors = std::map<std::string, Tensor>;
  refused(
      [&](Tensors& t) {
        t.erase(layer + "cls_feat_extractor.2.bias");
        t[layer + "cls_router_head_agnostic.2.weight"] = Tensor::zeros({4, 15}, DType::f32, cpu);
        t[layer + "cls_router_head_agnostic.6.weight"] = Tensor::zeros({1}, DType::f32, cpu);
        t[layer + "cls_router_head_agnostic.0.bias"] = Tensor::zeros({16}, DType::i32, cpu);
        t["model.sparsity_lambda2_task"] = Tensor::zeros({4}, DType::f32, cpu);
      },
      {"missing " + layer + "cls_feat_extractor.2.bias",
       "misshapen " + layer + "cls_router_head_agnostic.2.weight is [4, 15] in place of [4, 16]",
       "unexpected " + layer + "cls_router_head_agnostic.6.weight", "not floating-point",
       "cls_router_head_agnostic.0.bias is I32", "model.sparsity_lambda2_task is [4]"});
  refused(
      [&](Tensors& t) {
        t["model.layers.3.self_attn.mask_allocator.log_temp"] = t.at(layer + "log_temp");
      },
      {"missing model.layers.2.self_attn.mask_allocator.cls_feat_extractor.0.weight", "more"});
  refused([&](Tensors& t) { t.erase("model.sparsity_lambda1_task"); },
          {"missing model.sparsity_lambda1_task"});
  refused(
      [&](Tensors& t) {
        t.at(layer + "cls_router_head_agnostic.4.bias").data<float>()[1] = std::nanf("");
      },
      {"not finite", "cls_router_head_agnostic.4.bias"});
  refused(
      [&](Tensors& t) {
        const std::string first = "model.layers.0.self_attn.mask_allocator.";
        t[first + "cls_router_head_agnostic.4.weight"] = Tensor::zeros({3, 4}, DType::f32, cpu);
        t[first + "cls_feat_extractor.0.weight"] = Tensor::zeros({15, 4}, DType::f32, cpu);
      },
      {"[3, 4]", "one or two outputs", "[15, 4]"});
  refused(
      [&](Tensors& t) {
        std::erase_if(
            t, [](const auto& e) { return e.first.find("mask_allocator") != std::string::npos; });
      },
      {"no router"});
}

// A file may say any size, and cost next to nothing on disk: it is refused for what is missing
// before anything of that size is made.
TEST(Reference, SizesAreNotTakenOnTrust) {
  CpuDevice cpu;
  const test::Scratch folder;
  const std::string path = folder / "router.safetensors";
  constexpr uint64_t kRows = uint64_t(1) << 28, kBytes = 4 * kRows;
  const std::string prefix = "model.layers.0.self_attn.mask_allocator.";
  const nlohmann::json header = {
      {prefix + "cls_feat_extractor.0.weight",
       {{"dtype", "F32"}, {"shape", {kRows, 1}}, {"data_offsets", {0, kBytes}}}},
      {prefix + "cls_router_head_agnostic.4.weight",
       {{"dtype", "F32"}, {"shape", {2, 1}}, {"data_offsets", {kBytes, kBytes + 8}}}}};
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::ofstream(path, std::ios::binary)
      << std::string_view(reinterpret_cast<const char*>(&length), 8) << text;
  fs::resize_file(path, 8 + length + kBytes + 8);  // a hole
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return uint64_t(usage.ru_maxrss) << 10;
  };
  const uint64_t before = peak();
  const SafetensorsFile file(path);
  expect_refused(
      [&] {
        from_reference(homes_of(file), Folder("alone").config, "config.json", kTasks, path, cpu);
      },
      {"missing " + prefix + "cls_feat_extractor.0.bias"});
  EXPECT_LT(peak() - before, kBytes / 8);
}

TEST(Exchange, AnotherModelIsRefused) {
  CpuDevice cpu;
  const StoredRouter stored = Folder("alone").read(cpu);
  const auto fill = [&](int64_t layers, int64_t head_dim, bool multipliers) {
    std::vector<std::unique_ptr<AttentionRouter>> routers;
    ParameterList list;
    for (int64_t i = 0; i < layers; ++i) {
      routers.push_back(std::make_unique<AttentionRouter>(i, head_dim, kTasks, stored.config,
                                                          DType::f32, 1, true, cpu));
      routers.back()->append_parameters(list);
    }
    SparsityObjective objective({}, std::vector<double>(7, 0.5), DType::f32, 1, true, cpu);
    if (multipliers) objective.append_parameters(list);
    fill_parameters(stored, "there", list);
  };
  EXPECT_NO_THROW(fill(2, 4, false));
  expect_refused([&] { fill(3, 4, false); }, {"missing router.layers.2.task.0.weight", "there"});
  expect_refused([&] { fill(1, 4, false); }, {"unexpected router.layers.1."});
  expect_refused([&] { fill(2, 6, false); }, {"router.layers.0.task.0.weight is [16, 4]"});
  expect_refused([&] { fill(2, 4, true); }, {"objective.lambda1 is [5] in place of [7]"});
}

TEST(Exchange, SettingsThatAreRefused) {
  CpuDevice cpu;
  const auto good = settings_json(Folder("alone").read(cpu));
  const auto refused = [&](const auto& change, const std::vector<std::string>& fragments) {
    nlohmann::json object = good;
    change(object);
    expect_refused([&] { read_settings(object, "router.json"); }, fragments);
  };
  using Json = nlohmann::json;
  refused([](Json& j) { j.erase("format"); }, {"'format' is missing", "router.json"});
  refused([](Json& j) { j["format"] = "other"; }, {"not the settings of a router"});
  refused([](Json& j) { j["format_version"] = 2; }, {"format version"});
  refused([](Json& j) { j.erase("router"); }, {"'router' is missing"});
  refused([](Json& j) { j["backbone_fingerprint"] = 1; }, {"'backbone_fingerprint'"});
  refused([](Json& j) { j["rope_scaling"] = "yarn"; }, {"'rope_scaling'"});
  refused([](Json& j) { j["router"]["kid"] = "softmax"; }, {"kid"});
  refused([](Json& j) { j["router"]["hidden_mult"] = "4"; }, {"hidden_mult"});
  refused([](Json& j) { j = Json::array(); }, {"'format' is missing"});
}

TEST(Exchange, WhatThePublishedCodeDoesOtherwise) {
  RouterConfig config;
  config.ssa = {.sink = 128, .local = 2048, .block = 128};
  EXPECT_TRUE(reference_differences(config).empty());
  config.ssa = {.sink = 16, .local = 300, .block = 16};
  config.pool_budget = 50;
  const auto lines = reference_differences(config);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("sink 128 and local 384"), std::string::npos) << lines[0];
}

}  // namespace
}  // namespace elastron::router

// Generation on an emulated GPU: the ids of the CPU with and without a CUDA graph, and what a token
// asks of the device.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/cuda/device.h"
#include "core/file/input_file.h"
#include "core/meta_device.h"
#include "inference/generation.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::inference {
namespace {

constexpr int64_t kTokens = 14;

class GenerationOnAGpu : public ::testing::Test {
 protected:
  static std::string folder() { return ELASTRON_TEST_FIXTURES "/hf/qwen3"; }
  // Streaming heads whose ring is full, and begins anew, before the last token.
  static router::RouterConfig routing() {
    router::RouterConfig config;
    config.ssa = {.sink = 8, .local = 16, .block = 8};
    return config;
  }
  static EngineOptions options() {
    return {.dtype = DType::f32, .max_position = 1000, .routing = routing()};
  }
  std::unique_ptr<Engine> engine(Device& device) {
    auto e = std::make_unique<Engine>(model_, options(), mesh_, device);
    e->route_by(router::StaticGates{{1, 0, 0, 1}, {0, 1, 1, 0}});
    return e;
  }
  Generation generation(Engine& e, double temperature = 0) {
    return Generation(e, prompt_, model_.config().vocab_size,
                      {.max_tokens = kTokens,
                       .sampling = {.temperature = temperature, .seed = 3},
                       .ignore_eos = true});
  }
  std::vector<int32_t> ids(Device& device, double temperature = 0) {
    const auto e = engine(device);
    return generation(*e, temperature).run([] {});
  }

  CpuDevice cpu_;
  cuda::CudaDevice gpu_{0};
  parallel::Mesh mesh_ = parallel::Mesh::single();
  model::ModelFolder model_{folder()};
  std::vector<int32_t> prompt_ = [] {
    const auto prompts = nlohmann::json::parse(read_small_file(folder() + "/tokens.json", 1 << 20));
    auto ids = prompts[2].get<std::vector<int32_t>>();
    ids.resize(20);
    return ids;
  }();
};

TEST_F(GenerationOnAGpu, HasTheIdsOfTheCpuWithAndWithoutAGraph) {
  for (const double temperature : {0.0, 1.0}) {
    const auto wanted = ids(cpu_, temperature);
    const int64_t before = emulator::calls().graphs;
    EXPECT_EQ(ids(gpu_, temperature), wanted);
    EXPECT_EQ(emulator::calls().graphs - before, kTokens - 2);
    setenv("ELASTRON_CUDA_GRAPHS", "0", 1);
    EXPECT_EQ(ids(gpu_, temperature), wanted);
    unsetenv("ELASTRON_CUDA_GRAPHS");
    EXPECT_EQ(emulator::calls().graphs - before, kTokens - 2);
  }
}

// The first token comes of the prompt, the second one is issued and recorded. From the third on:
// one graph, the token's id and position to the device, its logits to the host, which waits once.
TEST_F(GenerationOnAGpu, ATokenIsOneLaunch) {
  const auto e = engine(gpu_);
  Generation text = generation(*e);
  text.next();
  text.next();
  const int64_t held = gpu_.memory().in_use_bytes;
  const int64_t allocations = gpu_.memory().system_allocations;
  for (int64_t i = 2; i < kTokens - 1; ++i) {  // the last one ends the text, and frees its cache
    const emulator::Calls before = emulator::calls();
    text.next();
    const emulator::Calls after = emulator::calls();
    EXPECT_EQ(after.graphs - before.graphs, 1);
    EXPECT_EQ(after.launches - before.launches, 0);
    EXPECT_EQ(after.copies - before.copies, 2);
    EXPECT_EQ(after.host_waits - before.host_waits, 1);
  }
  EXPECT_EQ(gpu_.memory().in_use_bytes, held);
  EXPECT_EQ(gpu_.memory().system_allocations, allocations);
}

// By a meta device's counts decoding_budgets_test says what a token of a real model asks for: they
// are this GPU's, from the prompt on, with a graph and, where few tokens are to come, without.
TEST_F(GenerationOnAGpu, AsksAsOftenAsAMetaDeviceCounts) {
  for (const int64_t tokens : {int64_t(5), kTokens}) {
    MetaDevice meta(DeviceKind::cuda);
    Engine planned(model_.config(), options(), mesh_, meta), real(model_, options(), mesh_, gpu_);
    std::vector<std::unique_ptr<Generation>> texts;
    for (Engine* e : {&planned, &real}) {
      e->route_by(router::uniform_gates(e->model().num_layers, e->model().kv_heads, 0));
      texts.push_back(std::make_unique<Generation>(
          *e, prompt_, e->model().vocab_size,
          GenerationOptions{.max_tokens = tokens, .ignore_eos = true}));
    }
    for (int64_t i = 0; i < tokens; ++i) {
      SCOPED_TRACE(std::to_string(i) + " of " + std::to_string(tokens));
      meta.clear_records();
      const emulator::Calls before = emulator::calls();
      for (auto& text : texts) text->next();
      const emulator::Calls after = emulator::calls();
      RangeRecord sums;
      int64_t launches = 0;
      for (const RangeRecord& range : meta.ranges()) {
        for (const OpRecord& op : range.ops) launches += op.sum.launches;
        sums.copies += range.copies;
        sums.host_waits += range.host_waits;
        sums.allocations += range.allocations;
      }
      EXPECT_EQ(launches, after.launches - before.launches + after.graphs - before.graphs);
      EXPECT_EQ(sums.copies, after.copies - before.copies);
      EXPECT_EQ(sums.host_waits, after.host_waits - before.host_waits);
      EXPECT_EQ(sums.allocations, after.allocations - before.allocations);
      EXPECT_EQ(meta.memory().in_use_bytes, gpu_.memory().in_use_bytes);
    }
  }
}

// Without a graph: the launches of the layers, and no more traffic with the host than with one.
TEST_F(GenerationOnAGpu, ATokenWithoutAGraphHasNoTablesToSend) {
  setenv("ELASTRON_CUDA_GRAPHS", "0", 1);
  const auto e = engine(gpu_);
  Generation text = generation(*e);
  text.next();
  text.next();
  const emulator::Calls before = emulator::calls();
  text.next();
  const emulator::Calls after = emulator::calls();
  unsetenv("ELASTRON_CUDA_GRAPHS");
  EXPECT_LE(after.launches - before.launches, 5 + 18 * e->model().num_layers);
  EXPECT_LE(after.copies - before.copies, 3);
  EXPECT_EQ(after.host_waits - before.host_waits, 1);
}

// Requests in one batch, in whose slots others come and go: the ids of the CPU, where each is alone,
// by one graph after another.
TEST_F(GenerationOnAGpu, RequestsSideBySideHaveTheIdsOfTheCpu) {
  const auto run = [&](Device& device, int64_t slots) {
    const auto e = engine(device);
    Scheduler scheduler(*e,
                        {.slots = slots, .page_rows = 8, .vocab_size = model_.config().vocab_size});
    for (const int64_t n : {20, 5, 1, 12, 9}) {
      scheduler.submit({.prompt = {prompt_.begin(), prompt_.begin() + n},
                        .max_tokens = 4 + n % 11,
                        .sampling = {.temperature = n % 2 == 0 ? 0.0 : 1.0, .seed = 3},
                        .ignore_eos = true,
                        .top_logprobs = 0});
    }
    std::vector<std::vector<ScoredToken>> all(5);
    while (!scheduler.idle()) {
      for (const Event& event : scheduler.step()) {
        if (event.token) all[size_t(event.request)].push_back(*event.token);
      }
    }
    EXPECT_EQ(scheduler.pool().used_pages(), 0);
    return all;
  };
  const auto wanted = run(cpu_, 1);
  const int64_t before = emulator::calls().graphs;
  for (const auto& got : {run(gpu_, 3), run(gpu_, 4)}) {
    for (size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_EQ(got[i].size(), wanted[i].size());
      for (size_t t = 0; t < got[i].size(); ++t) {
        EXPECT_EQ(got[i][t].id, wanted[i][t].id) << i << " " << t;
        EXPECT_NEAR(*got[i][t].logprob, *wanted[i][t].logprob, 1e-4);
      }
    }
  }
  EXPECT_GT(emulator::calls().graphs - before, 10);
}

// Sequences that take turns have a graph each.
TEST_F(GenerationOnAGpu, TakesTurnsOnOneEngine) {
  const auto wanted = ids(cpu_);
  const auto e = engine(gpu_);
  const int64_t before = gpu_.memory().in_use_bytes;
  {
    Generation a = generation(*e), b = generation(*e);
    for (int64_t i = 0; i < kTokens; ++i) {
      EXPECT_EQ(a.next(), wanted[size_t(i)]);
      EXPECT_EQ(b.next(), wanted[size_t(i)]);
    }
  }
  EXPECT_EQ(gpu_.memory().in_use_bytes, before);
}

}  // namespace
}  // namespace elastron::inference

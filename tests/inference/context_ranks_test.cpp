// Ranks of a context group read the rows of a prompt together and cache a part of the heads each:
// what comes is what one rank brings.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file/safetensors.h"
#include "core/philox.h"
#include "inference/prompt_summary.h"
#include "inference/scheduler.h"
#include "model/weights/model_folder.h"
#include "tests/parallel/support.h"
#include "tests/support/scratch.h"

namespace elastron::inference {
namespace {

constexpr int64_t kVocab = 60, kPageRows = 8;
const std::string kFolder = ELASTRON_TEST_FIXTURES "/hf/qwen3";

// Prompts that no rank has rows of its own of, that some numbers of ranks share, and that all do.
constexpr int64_t kLengths[] = {1, 3, 64, 193, 257, 777};
constexpr int64_t kShort = 3;  // so many of them are read by all ranks

struct Answer {
  std::vector<ScoredToken> tokens, prompt;
  PromptSummary summary;
  std::exception_ptr error;
};

class PromptsOfContextRanks : public parallel::WorldTest {
 protected:
  static std::vector<int32_t> ids(int64_t n, uint64_t seed) {
    const RandomStream stream(seed, RandomPurpose::test);
    std::vector<int32_t> all;
    for (int64_t i = 0; i < n; ++i) {
      all.push_back(int32_t(stream.bits_at(uint64_t(i)) % uint64_t(kVocab)));
    }
    return all;
  }
  static std::vector<Request> several() {
    std::vector<Request> all;
    for (const int64_t n : kLengths) {
      all.push_back({.prompt = ids(n, uint64_t(n)),
                     .max_tokens = 5 + n % 3,
                     .sampling = {.temperature = n % 2 == 0 ? 1.0 : 0.0, .seed = uint64_t(n)},
                     .ignore_eos = true,
                     .top_logprobs = 2,
                     .prompt_logprobs = n != 257});
    }
    return all;
  }
  // Sparse heads whose ring is full before the end of the longer prompts.
  static router::RouterConfig routing(router::Mode mode = router::Mode::fa_ssa) {
    router::RouterConfig config;
    config.mode = mode;
    config.ssa = {.sink = 8, .local = 64, .block = 8};
    config.xa = {.stride = 8, .block = 64, .threshold = 0.7};
    return config;
  }
  static router::StaticGates gates() { return {{1, 0, 0, 1}, {0, 1, 1, 0}}; }

  std::unique_ptr<Engine> engine(parallel::Mesh& mesh, DType dtype,
                                 const router::RouterConfig& config = routing(),
                                 const std::string& folder = kFolder) {
    auto engine = std::make_unique<Engine>(
        model::ModelFolder(folder),
        EngineOptions{.dtype = dtype, .max_position = 1000, .routing = config}, mesh, device);
    engine->route_by(gates());
    return engine;
  }

  static std::vector<Answer> answers(Engine& engine, std::vector<Request> requests,
                                     SchedulerOptions options = {}) {
    options.page_rows = kPageRows;
    options.vocab_size = kVocab;
    Scheduler scheduler(engine, options);
    std::vector<Answer> all(requests.size());
    for (Request& request : requests) scheduler.submit(std::move(request));
    while (!scheduler.idle()) {
      for (const Event& event : scheduler.step()) {
        Answer& answer = all[size_t(event.request)];
        if (event.prompt) {
          answer.prompt = event.prompt->scored;
          answer.summary = summary_of(*event.prompt, engine.mesh());
        }
        if (event.token) answer.tokens.push_back(*event.token);
        if (event.error) answer.error = event.error;
      }
    }
    EXPECT_EQ(scheduler.pool().used_pages(), 0);
    return all;
  }

  static void expect_near(const std::vector<ScoredToken>& got,
                          const std::vector<ScoredToken>& wanted, double tolerance) {
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t t = 0; t < wanted.size(); ++t) {
      EXPECT_EQ(got[t].id, wanted[t].id) << t;
      ASSERT_EQ(got[t].logprob.has_value(), wanted[t].logprob.has_value());
      if (!got[t].logprob) continue;
      EXPECT_NEAR(*got[t].logprob, *wanted[t].logprob, tolerance) << t;
      ASSERT_EQ(got[t].top.size(), wanted[t].top.size());
      for (size_t i = 0; i < wanted[t].top.size(); ++i) {
        EXPECT_EQ(got[t].top[i].first, wanted[t].top[i].first) << t;
        EXPECT_NEAR(got[t].top[i].second, wanted[t].top[i].second, tolerance) << t;
      }
    }
  }
  static void expect_near(const std::vector<Answer>& got, const std::vector<Answer>& wanted,
                          double tolerance) {
    for (size_t i = 0; i < wanted.size(); ++i) {
      SCOPED_TRACE(i);
      expect_near(got[i].tokens, wanted[i].tokens, tolerance);
      expect_near(got[i].prompt, wanted[i].prompt, tolerance);
      EXPECT_EQ(got[i].summary.gates, wanted[i].summary.gates);
      EXPECT_EQ(got[i].summary.esr_tiles, wanted[i].summary.esr_tiles);
      EXPECT_EQ(got[i].summary.cache_bytes, wanted[i].summary.cache_bytes);
      EXPECT_EQ(got[i].summary.full_cache_bytes, wanted[i].summary.full_cache_bytes);
    }
  }

  // With context ranks, and of one rank.
  std::vector<parallel::MeshLayout> layouts() const {
    auto all = parallel::all_layouts(world.size());
    std::erase_if(all, [&](const auto& l) { return l.context == 1 && world.size() > 1; });
    return all;
  }

  parallel::Mesh one_ = parallel::Mesh::single();
};

// Logits are float32 in any case. Products of other numbers of rows may sum in another order.
TEST_F(PromptsOfContextRanks, BringWhatOneRankBrings) {
  using router::Mode;
  for (const auto& [mode, dtype, tolerance] : {std::tuple{Mode::fa_ssa, DType::f64, 1e-6},
                                               {Mode::fa_ssa, DType::f32, 2e-5},
                                               {Mode::fa_xa, DType::f64, 1e-6},
                                               {Mode::fa_xa, DType::f32, 2e-5},
                                               {Mode::xa_ssa, DType::f64, 1e-6}}) {
    const auto wanted = answers(*engine(one_, dtype, routing(mode)), several(), {.slots = 4});
    ASSERT_LT(wanted.back().summary.esr_tiles, 1);
    ASSERT_GT(wanted.back().summary.esr_tiles, 0);
    for (const auto& layout : layouts()) {
      parallel::Mesh mesh(world, layout);
      SCOPED_TRACE("context " + std::to_string(layout.context) + ", tensor " +
                   std::to_string(layout.tensor) + ", mode " + std::to_string(int(mode)));
      expect_near(answers(*engine(mesh, dtype, routing(mode)), several(), {.slots = 4}), wanted,
                  tolerance);
    }
  }
}

// Where all ranks read the prompt nothing is rounded otherwise: attention of a head is that of one
// rank, bit for bit.
TEST_F(PromptsOfContextRanks, DecodeEachHeadAsOneRankDoes) {
  auto shorts = several();
  shorts.resize(size_t(kShort));
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    for (const auto& layout : layouts()) {
      parallel::Mesh mesh(world, layout);
      parallel::Mesh without(world,
                             {.data = world.size() / layout.tensor, .tensor = layout.tensor});
      const auto wanted = answers(*engine(without, dtype), shorts, {.slots = 3});
      expect_near(answers(*engine(mesh, dtype), shorts, {.slots = 3}), wanted, 0);
    }
  }
}

// A router decides by the prompt's rows, wherever they are: of the whole prompt, by head and by
// layer, from keys and from queries.
TEST_F(PromptsOfContextRanks, AreRoutedAsOneRankRoutes) {
  for (const auto preset : {router::Preset::elastic, router::Preset::flux}) {
    router::RouterConfig config = router::RouterConfig::of(preset);
    config.ssa = routing().ssa;
    config.init = router::Init::normal;
    config.init_std = 0.5;  // so that no decision hangs on a rounding
    const auto model = model::ModelFolder(kFolder).config();
    router::LayerRouters routers(
        config, {model.num_layers, model.head_dim, {model.kv_heads, 0, model.kv_heads}, 4, nullptr},
        DType::f32, /*seed=*/3, /*trainable=*/false, device);
    ParameterList parameters;
    routers.append_parameters(parameters);
    router::StoredRouter trained;
    for (const Parameter* p : parameters) trained.tensors[p->name] = p->value;
    const auto run = [&](parallel::Mesh& mesh) {
      const auto e = engine(mesh, DType::f32, config);
      e->route_by(trained, "the test");
      return answers(*e, several(), {.slots = 2});
    };
    const auto wanted = run(one_);
    std::string all;
    for (const Answer& answer : wanted) {
      for (const std::string& line : answer.summary.gates) all += line;
    }
    EXPECT_NE(all.find('F'), std::string::npos);
    EXPECT_NE(all.find('s'), std::string::npos);
    for (const auto& layout : layouts()) {
      parallel::Mesh mesh(world, layout);
      SCOPED_TRACE("context " + std::to_string(layout.context) + ", tensor " +
                   std::to_string(layout.tensor));
      expect_near(run(mesh), wanted, 2e-5);
    }
  }
}

// Each rank has the pages of its own heads; where the group does not divide them, of all.
TEST_F(PromptsOfContextRanks, CacheAPartOfTheHeads) {
  const int64_t heads = 4, layers = 2, rows = 450 + 6;
  for (const auto& layout : layouts()) {
    parallel::Mesh mesh(world, layout);
    const auto e = engine(mesh, DType::f32);
    e->route_by(router::uniform_gates(layers, heads, 1));
    Scheduler scheduler(*e, {.page_rows = kPageRows, .vocab_size = kVocab});
    scheduler.submit({.prompt = ids(450, 5), .max_tokens = 6, .ignore_eos = true});
    const auto event = scheduler.step().at(0);
    const int64_t own = heads / layout.tensor;
    const int64_t cached = own % layout.context == 0 ? own / layout.context : own;
    EXPECT_EQ(scheduler.pool().used_pages(), layers * cached * rows / kPageRows);
    EXPECT_EQ(event.prompt->cache_bytes,
              scheduler.pool().used_pages() * scheduler.pool().page().bytes());
    const auto summary = summary_of(*event.prompt, mesh);
    const int64_t pages = layers * heads * rows / kPageRows;
    EXPECT_EQ(summary.cache_bytes, double(pages * scheduler.pool().page().bytes()));
    EXPECT_EQ(summary.full_cache_bytes, summary.cache_bytes);
    EXPECT_EQ(summary.esr_tiles, 0);
    while (!scheduler.idle()) scheduler.step();
  }
}

// A rank whose heads are sparse has pages left when another, whose head is full, lacks one: a request
// waits on all ranks then, until the one before it has ended.
TEST_F(PromptsOfContextRanks, AreLetInByAllRanksAlike) {
  const auto requests = [] {
    std::vector<Request> all;
    for (const int64_t n : {200, 257, 100}) {
      all.push_back(
          {.prompt = ids(n, uint64_t(n)), .max_tokens = 12, .ignore_eos = true, .top_logprobs = 0});
    }
    return all;
  };
  for (const auto& layout : parallel::all_layouts(world.size())) {
    if (layout.tensor == 3) continue;  // of four heads
    parallel::Mesh mesh(world, layout);
    const auto e = engine(mesh, DType::f32);
    e->route_by(router::StaticGates{{1, 0, 0, 0}, {1, 0, 0, 0}});
    const auto alone = answers(*e, requests());
    SchedulerOptions options{.slots = 3, .page_rows = kPageRows, .vocab_size = kVocab};
    int64_t used[] = {0};
    {
      Scheduler first(*e, options);
      first.submit(requests()[0]);
      first.step();
      used[0] = first.pool().used_pages();
    }
    mesh.world().all_reduce_host(std::span<int64_t>(used), parallel::ReduceOp::max);
    const PagePool pool = e->make_pool({.page_rows = kPageRows});
    const int64_t pages = used[0] + e->cache_shape(257 + 12, {}).most_pages(pool) - 1;
    options.cache_bytes = pages * pool.page().bytes();

    Scheduler scheduler(*e, options);
    for (Request& request : requests()) scheduler.submit(std::move(request));
    std::vector<std::vector<ScoredToken>> got(3);
    while (!scheduler.idle()) {
      for (const Event& event : scheduler.step()) {
        got[size_t(event.request)].push_back(*event.token);
        EXPECT_TRUE(event.request != 1 || got[0].size() == 12);
      }
    }
    for (size_t i = 0; i < 3; ++i) expect_near(got[i], alone[i].tokens, 0);
  }
}

// Of few rows that are scored the first rank has all, and meets the number that is none: all see the
// request fail, and go on with the others.
TEST_F(PromptsOfContextRanks, FailOnAllRanksAlike) {
  const test::Scratch scratch;
  std::filesystem::copy(kFolder, scratch.path(), std::filesystem::copy_options::recursive);
  {
    const SafetensorsFile weights(kFolder + "/model.safetensors");
    std::fstream file(scratch / "model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    const auto& embedding = weights.entries().at("model.embed_tokens.weight");
    // The largest bfloat16, and its negative, in the head's rows of ids beyond kVocab.
    std::vector<uint16_t> large(32, 0x7f7f);
    large.resize(64, 0xff7f);
    uint64_t header = 0;
    file.read(reinterpret_cast<char*>(&header), sizeof header);
    file.seekp(std::streamoff(sizeof header + header + embedding.begin + uint64_t(65 * 32) * 2));
    file.write(reinterpret_cast<const char*>(large.data()), std::streamoff(large.size() * 2));
  }
  const auto request = [](uint64_t seed, int64_t tokens, bool scored) {
    Request r{.prompt = ids(tokens, seed), .max_tokens = 9, .ignore_eos = true};
    if (scored) r.top_logprobs = 0;
    r.prompt_logprobs = scored;
    return r;
  };
  for (const auto& layout : layouts()) {
    parallel::Mesh mesh(world, layout);
    const auto e = engine(mesh, DType::f32, routing(), scratch.path());
    const auto all = answers(
        *e, {request(1, 300, false), request(2, 60, true), request(3, 300, true)}, {.slots = 3});
    const auto good = answers(*e, {request(1, 300, false)});
    EXPECT_EQ(all[0].error, nullptr);
    expect_near(all[0].tokens, good[0].tokens, 0);
    EXPECT_EQ(all[0].tokens.size(), 9U);
    for (const size_t failed : {1, 2}) {
      ASSERT_NE(all[failed].error, nullptr);
      EXPECT_THROW(std::rethrow_exception(all[failed].error), NumericalError);
      EXPECT_TRUE(all[failed].tokens.empty());
    }
  }
}

}  // namespace
}  // namespace elastron::inference

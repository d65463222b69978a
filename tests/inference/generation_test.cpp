// An engine on a model folder of the transformers library, and generations that take turns on it.
#include "inference/generation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/file/input_file.h"
#include "ops/elementwise.h"
#include "tests/support/scratch.h"

namespace elastron::inference {
namespace {

constexpr int64_t kTokens = 20;

class Generations : public ::testing::Test {
 protected:
  static std::string folder() { return ELASTRON_TEST_FIXTURES "/hf/qwen3"; }
  static nlohmann::json json(const std::string& name) {
    return nlohmann::json::parse(read_small_file(folder() + "/" + name, 1 << 20));
  }

  std::vector<int32_t> prompt(size_t i) const { return prompts_[i].get<std::vector<int32_t>>(); }

  Engine engine(const router::RouterConfig& routing = {}) {
    return Engine(model_, {.dtype = DType::f32, .max_position = 1000, .routing = routing}, mesh_,
                  cpu_);
  }

  // Token by token, each from a forward pass over all that is there, without a cache.
  std::vector<int32_t> without_cache(Engine& e, std::vector<int32_t> ids) {
    const size_t begin = ids.size();
    for (int64_t i = 0; i < kTokens; ++i) {
      const HiddenRows hidden = e.forward(ids);
      const auto logits =
          ops::cast(e.logits(hidden.rows(hidden.count() - 1, hidden.count())), DType::f32)
              .to_vector<float>();
      ids.push_back(next_token(logits, {}, 0));
    }
    return {ids.begin() + std::ptrdiff_t(begin), ids.end()};
  }

  std::vector<int32_t> generate(Engine& e, size_t i, GenerationOptions options = {}) {
    options.max_tokens = kTokens;
    options.ignore_eos = true;
    return Generation(e, prompt(i), model_.config().vocab_size, options).run([] {});
  }

  CpuDevice cpu_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
  model::ModelFolder model_{folder()};
  nlohmann::json prompts_ = json("tokens.json");
};

TEST_F(Generations, TheCacheChangesNothing) {
  router::RouterConfig routing;
  routing.ssa = {.sink = 8, .local = 16, .block = 8};
  Engine e = engine(routing);
  EXPECT_EQ(generate(e, 2), without_cache(e, prompt(2)));
  e.route_by(router::StaticGates{{1, 0, 0, 1}, {0, 1, 1, 0}});
  const auto mixed = without_cache(e, prompt(2));
  EXPECT_EQ(generate(e, 2), mixed);
  // All keys in sparse heads: another text, as the rule does matter here.
  EXPECT_NE(generate(e, 2, {.cache = {.keep_all = true}}), mixed);
}

TEST_F(Generations, TakeTurnsOnOneEngine) {
  Engine e = engine();
  const auto first = generate(e, 1), second = generate(e, 2);
  const GenerationOptions options{.max_tokens = kTokens, .ignore_eos = true};
  Generation a(e, prompt(1), model_.config().vocab_size, options);
  Generation b(e, prompt(2), model_.config().vocab_size, options);
  for (int64_t i = 0; i < kTokens; ++i) {
    EXPECT_EQ(a.next(), first[size_t(i)]);
    EXPECT_EQ(b.next(), second[size_t(i)]);
  }
  EXPECT_EQ(a.next(), std::nullopt);
  EXPECT_EQ(a.generated(), first);
  EXPECT_EQ(b.generated(), second);
}

TEST_F(Generations, EndBeforeAStopToken) {
  const auto all = json("generated.json")[0].get<std::vector<int32_t>>();
  // The same folder, where the first token that is unlike those before it ends a text.
  const auto stop = std::ranges::find_if(all, [&](int32_t id) { return id != all.front(); });
  const test::Scratch scratch;
  std::filesystem::copy(folder(), scratch.path(), std::filesystem::copy_options::recursive);
  auto config = json("config.json");
  config["eos_token_id"] = *stop;
  scratch.write("config.json", config.dump());
  const model::ModelFolder model(scratch.path());
  Engine e(model, {.dtype = DType::f32, .max_position = 100}, mesh_, cpu_);
  int beats = 0;
  Generation text(e, prompt(1), model.config().vocab_size, {.max_tokens = 60});
  EXPECT_EQ(text.run([&] { ++beats; }), std::vector<int32_t>(all.begin(), stop));
  EXPECT_EQ(beats, stop - all.begin() + 1);
  EXPECT_EQ(text.next(), std::nullopt);
  Generation on(e, prompt(1), model.config().vocab_size, {.max_tokens = 60, .ignore_eos = true});
  EXPECT_EQ(on.run([] {}), all);
}

TEST_F(Generations, StayBelowTheTokenizersIds) {
  Engine e = engine();
  for (const int32_t id :
       Generation(e, prompt(1), 7, {.max_tokens = kTokens, .ignore_eos = true}).run([] {})) {
    EXPECT_LT(id, 7);
  }
}

}  // namespace
}  // namespace elastron::inference

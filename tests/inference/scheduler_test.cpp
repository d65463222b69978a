// Many requests on one engine: what each brings is what it brings alone.
#include "inference/scheduler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file/input_file.h"
#include "core/file/safetensors.h"
#include "core/philox.h"
#include "model/weights/model_folder.h"
#include "ops/elementwise.h"
#include "tests/support/scratch.h"

namespace elastron::inference {
namespace {

constexpr int64_t kVocab = 60;

struct Answer {
  std::vector<int32_t> ids;
  std::vector<ScoredToken> tokens;
  std::shared_ptr<const PromptFigures> prompt;
  std::string text;
  std::optional<Finish> finish;
  std::optional<ScoredToken> end;
  std::exception_ptr error;
};

class Requests : public ::testing::Test {
 protected:
  Requests() { engine_.route_by(router::StaticGates{{1, 0, 0, 1}, {0, 1, 1, 0}}); }

  static std::string folder() { return ELASTRON_TEST_FIXTURES "/hf/qwen3"; }
  static router::RouterConfig routing() {
    router::RouterConfig config;
    config.ssa = {.sink = 8, .local = 16, .block = 8};
    return config;
  }
  static std::vector<int32_t> ids(int64_t n, uint64_t seed) {
    const RandomStream stream(seed, RandomPurpose::test);
    std::vector<int32_t> all;
    for (int64_t i = 0; i < n; ++i) {
      all.push_back(int32_t(stream.bits_at(uint64_t(i)) % uint64_t(kVocab)));
    }
    return all;
  }
  // Prompts of very different lengths that want different numbers of tokens, some drawn.
  static std::vector<Request> several() {
    std::vector<Request> all;
    for (int64_t i = 0; i < 20; ++i) {
      all.push_back({.prompt = ids(1 + 29 * i % 90, uint64_t(i)),
                     .max_tokens = 3 + 5 * i % 17,
                     .sampling = {.temperature = i % 2 == 0 ? 0.0 : 1.0, .top_k = 20, .seed = 5},
                     .ignore_eos = true,
                     .top_logprobs = 2});
    }
    return all;
  }
  static std::map<int64_t, Answer> answers(Scheduler& scheduler) {
    std::map<int64_t, Answer> all;
    while (!scheduler.idle()) {
      for (Event& event : scheduler.step()) {
        Answer& answer = all[event.request];
        EXPECT_FALSE(answer.finish.has_value());
        if (event.prompt) answer.prompt = event.prompt;
        if (event.end) answer.end = event.end;
        if (event.token) {
          answer.ids.push_back(event.token->id);
          answer.tokens.push_back(*event.token);
        }
        answer.text += event.text;
        answer.finish = event.finish;
        answer.error = event.error;
      }
    }
    return all;
  }
  SchedulerOptions options(int64_t slots, int64_t cache_bytes = 0) const {
    return {.slots = slots, .cache_bytes = cache_bytes, .page_rows = 8, .vocab_size = kVocab};
  }

  CpuDevice cpu_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
  model::ModelFolder model_{folder()};
  Engine engine_{
      model_, {.dtype = DType::f32, .max_position = 200, .routing = routing()}, mesh_, cpu_};
};

TEST_F(Requests, BringWhatTheyBringAlone) {
  std::vector<Answer> alone;
  for (const Request& request : several()) {
    Scheduler scheduler(engine_, options(1));
    EXPECT_EQ(scheduler.submit(request), 0);
    alone.push_back(answers(scheduler).at(0));
    EXPECT_EQ(int64_t(alone.back().ids.size()), request.max_tokens);
    EXPECT_EQ(alone.back().finish, Finish::length);
    EXPECT_EQ(scheduler.pool().used_pages(), 0);
  }
  // All at once, which are more than ops::kRowsAlike; fewer at a time; and as few as the memory of
  // about two of them allows.
  const int64_t page = engine_.make_pool({.page_rows = 8}).page().bytes();
  for (const SchedulerOptions& how : {options(20), options(3), options(20, 8 * 14 * page)}) {
    Scheduler scheduler(engine_, how);
    for (const Request& request : several()) scheduler.submit(request);
    const auto together = answers(scheduler);
    ASSERT_EQ(together.size(), alone.size());
    for (size_t i = 0; i < alone.size(); ++i) {
      const Answer& answer = together.at(int64_t(i));
      EXPECT_EQ(answer.ids, alone[i].ids) << i;
      for (size_t t = 0; t < answer.tokens.size(); ++t) {
        // To the last bit.
        EXPECT_EQ(*answer.tokens[t].logprob, *alone[i].tokens[t].logprob) << i << " " << t;
        EXPECT_EQ(answer.tokens[t].top, alone[i].tokens[t].top);
      }
      EXPECT_EQ(answer.prompt->gates, alone[i].prompt->gates);
      EXPECT_EQ(answer.prompt->cache_bytes, alone[i].prompt->cache_bytes);
    }
    EXPECT_EQ(scheduler.pool().used_pages(), 0);
  }
}

TEST_F(Requests, AreLetInAsMemoryAllows) {
  // Each may need 2 layers x 4 heads x 5 pages before its gates are known, and keeps half the heads'.
  const int64_t page = engine_.make_pool({.page_rows = 8}).page().bytes();
  Scheduler scheduler(engine_, options(10, 60 * page));
  for (int i = 0; i < 4; ++i) {
    scheduler.submit({.prompt = ids(30, uint64_t(i)), .max_tokens = 10, .ignore_eos = true});
  }
  scheduler.step();
  // 60 pages: the first has 4 x 5 + 4 x 3 = 32 of them, and the second would need 40.
  EXPECT_EQ(scheduler.running(), 1);
  EXPECT_EQ(scheduler.pool().used_pages(), 32);
  EXPECT_EQ(scheduler.waiting(), 3);
  const auto all = answers(scheduler);
  EXPECT_EQ(all.size(), 4u);
  EXPECT_EQ(scheduler.pool().used_pages(), 0);
}

TEST_F(Requests, CanBeForgotten) {
  Scheduler scheduler(engine_, options(2));
  for (int i = 0; i < 3; ++i) {
    scheduler.submit({.prompt = ids(20, uint64_t(i)), .max_tokens = 12, .ignore_eos = true});
  }
  scheduler.step();
  scheduler.cancel(0);  // under way
  scheduler.cancel(2);  // waiting
  scheduler.cancel(9);  // nobody
  const auto all = answers(scheduler);
  EXPECT_EQ(all.size(), 1u);
  EXPECT_EQ(all.at(1).ids.size(), 11u);  // its first token came with the first step
  EXPECT_EQ(scheduler.pool().used_pages(), 0);
}

// Of each token of the prompt and behind it, by a forward pass over all of them.
TEST_F(Requests, LogProbabilitiesAreThoseOfAForwardPass) {
  const auto prompt = ids(70, 3);
  Scheduler scheduler(engine_, options(1));
  scheduler.submit({.prompt = prompt,
                    .max_tokens = 4,
                    .ignore_eos = true,
                    .top_logprobs = 3,
                    .prompt_logprobs = true});
  const Answer answer = answers(scheduler).at(0);
  ASSERT_EQ(answer.prompt->scored.size(), prompt.size());
  std::vector<ScoredToken> all = answer.prompt->scored;
  all.insert(all.end(), answer.tokens.begin(), answer.tokens.end());
  EXPECT_FALSE(all.front().logprob.has_value());
  std::vector<int32_t> text = prompt;
  text.insert(text.end(), answer.ids.begin(), answer.ids.end() - 1);
  const auto logits =
      ops::cast(engine_.logits(engine_.forward(text).rows(0, int64_t(text.size()))), DType::f64)
          .to_vector<double>();
  const auto vocab = size_t(engine_.model().vocab_size);
  for (size_t i = 1; i < all.size(); ++i) {
    const double* row = logits.data() + (i - 1) * vocab;
    double sum = 0;
    for (size_t j = 0; j < vocab; ++j) sum += std::exp(row[j]);
    EXPECT_NEAR(*all[i].logprob, row[all[i].id] - std::log(sum), 2e-5) << i;
    ASSERT_EQ(all[i].top.size(), 3u);
    EXPECT_GE(all[i].top[0].second, all[i].top[1].second);
    EXPECT_NEAR(all[i].top[0].second, row[all[i].top[0].first] - std::log(sum), 2e-5);
    EXPECT_LE(*all[i].logprob, all[i].top[0].second);
  }
}

// As `elastron logits` writes them, which tests/launch/logits_test.cpp holds against these.
TEST_F(Requests, LogProbabilitiesOfAPromptAreThoseOfTransformers) {
  Engine dense(model_, {.dtype = DType::f32, .max_position = 700}, mesh_, cpu_);
  const SafetensorsFile expected(folder() + "/expected.safetensors");
  const auto prompts = nlohmann::json::parse(read_small_file(folder() + "/tokens.json", 1 << 20));
  Scheduler scheduler(dense, options(1));
  for (size_t i = 1; i < 3; ++i) {
    const auto prompt = prompts[i].get<std::vector<int32_t>>();
    const int64_t number =
        scheduler.submit({.prompt = prompt, .max_tokens = 0, .prompt_logprobs = true});
    const auto scored = answers(scheduler).at(number).prompt->scored;
    ASSERT_EQ(scored.size(), prompt.size());
    const Tensor want = expected.read("logits_" + std::to_string(i), cpu_);
    const auto values = want.to_vector<float>();
    const auto vocab = size_t(want.size(1)), every = size_t(i == 2 ? 40 : 1);
    for (size_t r = 0; r * every + 1 < prompt.size(); ++r) {
      const ScoredToken& token = scored[r * every + 1];
      EXPECT_EQ(token.id, prompt[r * every + 1]);
      double sum = 0;
      for (size_t j = 0; j < vocab; ++j) sum += std::exp(double(values[r * vocab + j]));
      EXPECT_NEAR(*token.logprob, double(values[r * vocab + size_t(token.id)]) - std::log(sum),
                  4e-4);
      EXPECT_TRUE(token.top.empty());
    }
  }
}

TEST_F(Requests, AreRefusedWhereTheyCanNeverBeLetIn) {
  const int64_t page = engine_.make_pool({.page_rows = 8}).page().bytes();
  Scheduler scheduler(engine_, options(2, 8 * 6 * page));
  const auto refusal = [&](Request request) -> std::string {
    try {
      scheduler.submit(std::move(request));
    } catch (const UsageError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(refusal({.prompt = ids(40, 0), .max_tokens = 9}),
            "a prompt of 40 tokens and up to 9 more may need 0.00 GB of cache, of 0.00 "
            "(max_tokens): ask for fewer tokens, or give the cache more memory");
  EXPECT_EQ(refusal({.prompt = ids(40, 0), .max_tokens = 8}), "");
  EXPECT_NE(refusal({.prompt = {3, -1}}).find("the id -1,"), std::string::npos);
  EXPECT_NE(refusal({.prompt = {3, 67}}).find("the id 67,"), std::string::npos);
  EXPECT_NE(refusal({.prompt = ids(201, 1), .max_tokens = 1}).find("201 tokens"),
            std::string::npos);
  EXPECT_EQ(scheduler.waiting(), 1);
}

TEST_F(Requests, OfOneSeedBringTheSame) {
  Scheduler scheduler(engine_, options(4));
  for (const uint64_t seed : {7, 8, 7, 9}) {
    scheduler.submit({.prompt = ids(20, 1),
                      .max_tokens = 24,
                      .sampling = {.temperature = 1.5, .seed = seed},
                      .ignore_eos = true});
  }
  const auto all = answers(scheduler);
  EXPECT_EQ(all.at(0).ids, all.at(2).ids);
  EXPECT_NE(all.at(0).ids, all.at(1).ids);
  EXPECT_NE(all.at(0).ids, all.at(3).ids);
  EXPECT_NE(all.at(1).ids, all.at(3).ids);
}

// A head of streaming attention holds the sink and the ring, however long the text becomes.
TEST_F(Requests, HoldBoundedPagesInSparseHeads) {
  engine_.route_by(router::StaticGates{{0, 0, 0, 0}, {0, 0, 0, 0}});
  for (const int64_t tokens : {30, 170}) {
    Scheduler scheduler(engine_, options(1));
    scheduler.submit({.prompt = ids(20, 1), .max_tokens = tokens, .ignore_eos = true});
    int64_t steps = 0;
    while (!scheduler.idle()) {
      scheduler.step();
      // 8 of the sink and 16 of the window, in pages of 8.
      EXPECT_EQ(scheduler.pool().used_pages(), scheduler.idle() ? 0 : 8 * 3);
      ++steps;
    }
    EXPECT_EQ(steps, tokens);
    EXPECT_EQ(scheduler.pool().used_pages(), 0);
  }
}

// A model whose logits of two ids that are not drawn are beyond float32: who asks for
// log-probabilities fails, and nobody else does.
TEST_F(Requests, FailAlone) {
  const test::Scratch scratch;
  std::filesystem::copy(folder(), scratch.path(), std::filesystem::copy_options::recursive);
  {
    const SafetensorsFile weights(folder() + "/model.safetensors");
    std::fstream file(scratch / "model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    const auto& embedding = weights.entries().at("model.embed_tokens.weight");
    const int64_t row = model_.config().hidden_size;
    // The largest bfloat16, and its negative.
    std::vector<uint16_t> large(size_t(row), 0x7f7f);
    large.resize(size_t(2 * row), 0xff7f);
    uint64_t header = 0;  // the length of what stands before the data
    file.read(reinterpret_cast<char*>(&header), sizeof header);
    file.seekp(std::streamoff(sizeof header + header + embedding.begin + uint64_t(65 * row) * 2));
    file.write(reinterpret_cast<const char*>(large.data()), std::streamoff(large.size() * 2));
  }
  const model::ModelFolder broken(scratch.path());
  Engine engine(broken, {.dtype = DType::f32, .max_position = 200, .routing = routing()}, mesh_,
                cpu_);
  const int64_t page = engine.make_pool({.page_rows = 8}).page().bytes();
  Scheduler alone(engine, options(1)), scheduler(engine, options(4, 8 * 8 * page));
  const auto good = [&](uint64_t seed) {
    return Request{.prompt = ids(20, seed), .max_tokens = 12, .ignore_eos = true};
  };
  for (const uint64_t seed : {1, 2}) alone.submit(good(seed));
  const auto wanted = answers(alone);
  scheduler.submit(good(1));
  auto bad = good(3);
  bad.top_logprobs = 1;
  scheduler.submit(bad);
  bad = good(4);
  bad.max_tokens = 0;
  bad.prompt_logprobs = true;
  scheduler.submit(bad);
  scheduler.submit(good(2));
  const auto all = answers(scheduler);
  EXPECT_EQ(all.at(0).ids, wanted.at(0).ids);
  EXPECT_EQ(all.at(3).ids, wanted.at(1).ids);
  for (const int64_t failed : {1, 2}) {
    EXPECT_EQ(all.at(failed).finish, Finish::failed);
    EXPECT_TRUE(all.at(failed).ids.empty());
    EXPECT_THROW(std::rethrow_exception(all.at(failed).error), NumericalError);
  }
  EXPECT_EQ(all.at(0).error, nullptr);
  EXPECT_EQ(scheduler.pool().used_pages(), 0);
}

TEST_F(Requests, EndAtAStopId) {
  Scheduler scheduler(engine_, options(2));
  Request request{.prompt = ids(20, 1),
                  .max_tokens = 30,
                  .sampling = {.temperature = 1, .seed = 1},
                  .ignore_eos = true};
  scheduler.submit(request);
  const auto all = answers(scheduler).at(0).ids;
  const auto stop = std::ranges::find_if(all, [&](int32_t id) { return id != all.front(); });
  ASSERT_NE(stop, all.end());
  request.stop_ids = {*stop};
  scheduler.submit(request);
  const Answer answer = answers(scheduler).at(1);
  EXPECT_EQ(answer.ids, std::vector<int32_t>(all.begin(), stop));
  EXPECT_EQ(answer.finish, Finish::stop);
  ASSERT_TRUE(answer.end);
  EXPECT_EQ(answer.end->id, *stop);
}

// Before their least number of tokens texts have others in the place of an end: the likeliest of
// the rest, at the same step as without an end.
TEST_F(Requests, EndByAnIdOnlyAfterTheLeastNumber) {
  Scheduler scheduler(engine_, options(2));
  Request request{.prompt = ids(20, 1), .max_tokens = 6, .ignore_eos = true, .top_logprobs = 2};
  scheduler.submit(request);
  const auto first = answers(scheduler).at(0).tokens.front();
  request.stop_ids = {first.id};
  request.min_tokens = 1;
  scheduler.submit(request);
  const Answer later = answers(scheduler).at(1);
  ASSERT_FALSE(later.ids.empty());
  EXPECT_EQ(later.ids.front(), first.top.at(1).first);
  EXPECT_TRUE(later.finish == Finish::stop || later.ids.size() == 6u);
  request.min_tokens = 6;
  scheduler.submit(request);
  const Answer never = answers(scheduler).at(2);
  EXPECT_EQ(never.ids.size(), 6u);
  EXPECT_EQ(std::ranges::count(never.ids, first.id), 0);
  request.min_tokens = 0;
  scheduler.submit(request);
  EXPECT_TRUE(answers(scheduler).at(3).ids.empty());
}

TEST_F(Requests, EndAtAStopString) {
  const auto tokenizer = data::load_tokenizer(ELASTRON_TEST_FIXTURES "/tokenizer/qwen3");
  SchedulerOptions how = options(3);
  how.tokenizer = tokenizer.get();
  Scheduler scheduler(engine_, how);
  Request request{.prompt = ids(20, 2),
                  .max_tokens = 30,
                  .sampling = {.temperature = 2, .seed = 1},
                  .ignore_eos = true};
  scheduler.submit(request);
  const Answer whole = answers(scheduler).at(0);
  ASSERT_EQ(whole.text, tokenizer->decode(whole.ids));
  ASSERT_EQ(whole.text.size(), 30u);  // an id of these is a character
  // Of three tokens, after a beginning of it that comes to nothing; the first of two.
  request.stops = {whole.text.substr(20, 2), whole.text.substr(9, 3),
                   whole.text.substr(12, 1) + "\n"};
  ASSERT_EQ(whole.text.find(request.stops[1]), 9u);
  ASSERT_GT(whole.text.find(request.stops[0]), 9u);
  scheduler.submit(request);
  const Answer stopped = answers(scheduler).at(1);
  EXPECT_EQ(stopped.text, whole.text.substr(0, 9));
  EXPECT_EQ(stopped.ids, std::vector<int32_t>(whole.ids.begin(), whole.ids.begin() + 12));
  EXPECT_EQ(stopped.finish, Finish::stop);
  // With the last token that was asked for.
  request.max_tokens = 12;
  scheduler.submit(request);
  EXPECT_EQ(answers(scheduler).at(2).finish, Finish::stop);
  EXPECT_EQ(scheduler.pool().used_pages(), 0);
}

TEST_F(Requests, EndAtTheModelsLastPosition) {
  Scheduler scheduler(engine_, options(1));
  scheduler.submit({.prompt = ids(195, 1), .max_tokens = 30, .ignore_eos = true});
  const Answer answer = answers(scheduler).at(0);
  EXPECT_EQ(answer.ids.size(), 5u);
  EXPECT_EQ(answer.finish, Finish::length);
}

TEST_F(Requests, MayWantThePromptReadOnly) {
  Scheduler scheduler(engine_, options(1));
  scheduler.submit({.prompt = ids(195, 1), .max_tokens = 0});
  const Answer answer = answers(scheduler).at(0);
  EXPECT_TRUE(answer.ids.empty());
  EXPECT_EQ(answer.finish, Finish::length);
  EXPECT_EQ(answer.prompt->tokens, 195);
  EXPECT_EQ(answer.prompt->gates, (std::vector<std::vector<uint8_t>>{{1, 0, 0, 1}, {0, 1, 1, 0}}));
  EXPECT_LT(answer.prompt->visited, answer.prompt->dense);
  EXPECT_LT(answer.prompt->cache_bytes, answer.prompt->full_cache_bytes + 1);
}

}  // namespace
}  // namespace elastron::inference

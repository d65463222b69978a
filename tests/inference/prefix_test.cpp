// Beginnings that prompts share: what is read behind them is what it would be if it had been generated,
// whether a prefix is kept or read again.
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "core/philox.h"
#include "inference/scheduler.h"
#include "model/weights/model_folder.h"

namespace elastron::inference {
namespace {

constexpr int64_t kVocab = 60;

std::vector<int32_t> ids(int64_t n, uint64_t seed) {
  const RandomStream stream(seed, RandomPurpose::test);
  std::vector<int32_t> all;
  for (int64_t i = 0; i < n; ++i) {
    all.push_back(int32_t(stream.bits_at(uint64_t(i)) % uint64_t(kVocab)));
  }
  return all;
}

struct Answer {
  std::vector<ScoredToken> tokens;
  std::shared_ptr<const PromptFigures> prompt;
};

// -> of each request
std::map<int64_t, Answer> answers(Scheduler& scheduler) {
  std::map<int64_t, Answer> all;
  while (!scheduler.idle()) {
    for (Event& event : scheduler.step()) {
      if (event.prompt) all[event.request].prompt = event.prompt;
      if (event.token) all[event.request].tokens.push_back(*event.token);
      EXPECT_EQ(event.error, nullptr);
    }
  }
  return all;
}

void expect_same_bits(const std::vector<ScoredToken>& a, std::span<const ScoredToken> b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].id, b[i].id) << i;
    EXPECT_EQ(*a[i].logprob, *b[i].logprob) << i;
    EXPECT_EQ(a[i].top, b[i].top) << i;
  }
}

class Prefixes : public ::testing::TestWithParam<bool> {  // whole blocks, or exact windows
 protected:
  Prefixes() { engine_.route_by(router::StaticGates{{1, 0, 0, 1}, {0, 1, 1, 0}}); }

  static router::RouterConfig routing() {
    router::RouterConfig config;
    config.ssa = {.sink = 8, .local = 16, .block = 8};
    return config;
  }
  SchedulerOptions options(int64_t prefixes, int64_t cache_bytes = 0) const {
    return {.slots = 4,
            .cache_bytes = cache_bytes,
            .page_rows = 8,
            .cache = {.whole_blocks = GetParam()},
            .prefixes = prefixes,
            .vocab_size = kVocab};
  }
  static Request request(std::vector<int32_t> prefix, const std::vector<int32_t>& rest) {
    Request r{.prompt = std::move(prefix), .max_tokens = 9, .ignore_eos = true, .top_logprobs = 3};
    r.prefix_tokens = int64_t(r.prompt.size());
    r.prompt.insert(r.prompt.end(), rest.begin(), rest.end());
    return r;
  }

  CpuDevice cpu_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
  model::ModelFolder model_{ELASTRON_TEST_FIXTURES "/hf/qwen3"};
  Engine engine_{
      model_, {.dtype = DType::f32, .max_position = 200, .routing = routing()}, mesh_, cpu_};
};

// A text that is given behind a prefix goes on as if the model had written it, to the last bit.
TEST_P(Prefixes, AreReadOnAsGeneratedTextIs) {
  for (const int64_t length : {3, 8, 30, 61}) {
    Scheduler writes(engine_, options(0));
    Request whole{
        .prompt = ids(length, 1), .max_tokens = 50, .ignore_eos = true, .top_logprobs = 3};
    writes.submit(whole);
    const auto written = answers(writes).at(0).tokens;
    for (const size_t given : {1, 2, 15, 16, 17, 40}) {
      std::vector<int32_t> rest;
      for (size_t i = 0; i < given; ++i) rest.push_back(written[i].id);
      Scheduler reads(engine_, options(1));
      reads.submit(request(ids(length, 1), rest));
      const Answer answer = answers(reads).at(0);
      expect_same_bits(answer.tokens, std::span(written).subspan(given, 9));
      EXPECT_EQ(answer.prompt->tokens, length + int64_t(given));
    }
  }
}

TEST_P(Prefixes, AreReadOnceAndBringTheSame) {
  const auto shared = ids(45, 2), other = ids(20, 3);
  const std::vector<Request> all = {request(shared, ids(5, 4)),  request(other, ids(30, 5)),
                                    request(shared, ids(33, 6)), request(shared, ids(1, 7)),
                                    request(other, ids(2, 8)),   request(ids(44, 2), ids(5, 4))};
  std::vector<Answer> alone;
  for (const Request& r : all) {
    Scheduler scheduler(engine_, options(0));
    scheduler.submit(r);
    alone.push_back(answers(scheduler).at(0));
    EXPECT_EQ(alone.back().prompt->prefix_tokens_kept, 0);
    EXPECT_EQ(scheduler.pool().used_pages(), 0);
  }
  Scheduler scheduler(engine_, options(2));
  for (const Request& r : all) scheduler.submit(r);
  const auto together = answers(scheduler);
  const int64_t kept[] = {0, 0, 45, 45, 20, 0};
  for (size_t i = 0; i < all.size(); ++i) {
    const Answer& answer = together.at(int64_t(i));
    expect_same_bits(answer.tokens, alone[i].tokens);
    EXPECT_EQ(answer.prompt->gates, alone[i].prompt->gates);
    EXPECT_EQ(answer.prompt->cache_bytes, alone[i].prompt->cache_bytes);
    EXPECT_EQ(answer.prompt->prefix_tokens_kept, kept[i]) << i;
  }
  // Of three the one that was used longest ago has gone.
  EXPECT_EQ(scheduler.pool().used_pages(), scheduler.prefix_pages());
  EXPECT_GT(scheduler.prefix_pages(), 0);
  scheduler.submit(all[4]);
  scheduler.submit(all[0]);
  const auto again = answers(scheduler);
  EXPECT_EQ(again.at(6).prompt->prefix_tokens_kept, 20);
  EXPECT_EQ(again.at(7).prompt->prefix_tokens_kept, 0);
  expect_same_bits(again.at(7).tokens, alone[0].tokens);
}

// With gates that do not depend on the prompt, a prefix changes nothing but how sums round; unless
// decoding has other windows than a prompt.
TEST_P(Prefixes, AreThePromptTheyBegin) {
  if (!GetParam()) return;
  const auto shared = ids(45, 2), rest = ids(33, 6);
  Scheduler scheduler(engine_, options(1));
  Request whole = request(shared, rest);
  scheduler.submit(whole);
  whole.prefix_tokens = 0;
  scheduler.submit(whole);
  const auto both = answers(scheduler);
  const Answer &behind = both.at(0), &read = both.at(1);
  ASSERT_EQ(behind.tokens.size(), read.tokens.size());
  for (size_t i = 0; i < read.tokens.size(); ++i) {
    EXPECT_EQ(behind.tokens[i].id, read.tokens[i].id);
    EXPECT_NEAR(*behind.tokens[i].logprob, *read.tokens[i].logprob, 2e-5);
  }
}

TEST_P(Prefixes, MakeWayForRequests) {
  const int64_t page = engine_.make_pool({.page_rows = 8}).page().bytes();
  // 2 layers x 4 heads of up to 14 pages.
  Scheduler scheduler(engine_, options(8, 8 * 14 * page));
  for (const uint64_t seed : {1, 2, 3}) {
    scheduler.submit(request(ids(24, seed), ids(3, 9)));
    answers(scheduler);
  }
  const int64_t three = scheduler.prefix_pages();
  EXPECT_EQ(scheduler.pool().used_pages(), three);
  EXPECT_EQ(three, 3 * 8 * 3);
  // 8 heads x 11 pages: one prefix can stay, that which was used last.
  scheduler.submit({.prompt = ids(80, 4), .max_tokens = 8, .ignore_eos = true});
  answers(scheduler);
  EXPECT_EQ(scheduler.prefix_pages(), 8 * 3);
  scheduler.submit(request(ids(24, 3), ids(3, 9)));
  EXPECT_EQ(answers(scheduler).at(4).prompt->prefix_tokens_kept, 24);
  scheduler.submit(request(ids(24, 1), ids(3, 9)));
  EXPECT_EQ(answers(scheduler).at(5).prompt->prefix_tokens_kept, 0);
}

TEST_P(Prefixes, ThatCannotBeAreRefused) {
  const int64_t page = engine_.make_pool({.page_rows = 8}).page().bytes();
  Scheduler scheduler(engine_, options(1, 8 * 10 * page));
  Request r = request(ids(10, 1), {});
  EXPECT_THROW(scheduler.submit(r), UsageError);
  r.prefix_tokens = -1;
  EXPECT_THROW(scheduler.submit(r), UsageError);
  r = request(ids(10, 1), ids(2, 2));
  r.prompt_logprobs = true;
  EXPECT_THROW(scheduler.submit(r), UsageError);
  // Both must have room at once: 5 + 6 pages of 10.
  EXPECT_THROW(scheduler.submit(request(ids(35, 1), ids(2, 2))), UsageError);
  EXPECT_EQ(scheduler.waiting(), 0);
}

INSTANTIATE_TEST_SUITE_P(Windows, Prefixes, ::testing::Bool());

}  // namespace
}  // namespace elastron::inference

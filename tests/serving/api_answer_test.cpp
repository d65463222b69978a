// Answers from updates: whole ones, and chunks that come to the same.
#include "serving/api_answer.h"

#include <gtest/gtest.h>

#include "serving/api_error.h"
#include "tests/serving/served_words.h"

namespace elastron::serving {
namespace {

using inference::Finish;
using nlohmann::json;

Update first(int64_t id, double logprob, const std::string& text) {
  Update u;
  u.prompt = PromptReport{.tokens = 2,
                          .summary = {.gates = {"Fs"},
                                      .msr = 0.5,
                                      .esr_tiles = 0.25,
                                      .cache_bytes = 10,
                                      .full_cache_bytes = 20},
                          .scored = {{.id = 1, .logprob = {}, .top = {}},
                                     {.id = 2, .logprob = -0.5, .top = {{3, -0.25}}}}};
  u.token = {.id = int32_t(id), .logprob = logprob, .top = {{3, -0.125}, {int32_t(id), logprob}}};
  u.text = text;
  return u;
}
Update last(int64_t id, double logprob, const std::string& text, Finish finish) {
  Update u;
  u.token = {.id = int32_t(id), .logprob = logprob, .top = {}};
  u.text = text;
  u.finish = finish;
  return u;
}

class ApiAnswers : public ::testing::Test {
 protected:
  ApiRequest request(const json& more) {
    json body = {{"prompt", "a b"}, {"logprobs", 2}, {"echo", true}};
    body.update(more);
    return parse_completion(body, served_.model);
  }
  test::ServedWords served_;
};

TEST_F(ApiAnswers, AWholeCompletion) {
  const ApiRequest r = request({{"elastron", {{"gates", true}}}});
  ApiAnswer answer(r, served_.model, "cmpl-1", 5);
  EXPECT_TRUE(answer.take(0, first(4, -1, " d")).empty());
  EXPECT_FALSE(answer.finished());
  answer.take(0, last(5, -2, " e", Finish::length));
  ASSERT_TRUE(answer.finished());
  const json all = answer.whole();
  EXPECT_EQ(all["id"], "cmpl-1");
  EXPECT_EQ(all["object"], "text_completion");
  EXPECT_EQ(all["created"], 5);
  EXPECT_EQ(all["model"], "words");
  const json& c = all["choices"][0];
  EXPECT_EQ(c["text"], "a b d e");
  EXPECT_EQ(c["finish_reason"], "length");
  EXPECT_EQ(c["logprobs"]["tokens"], json({"a", "b", "d", "e"}));
  EXPECT_EQ(c["logprobs"]["token_logprobs"], json({nullptr, -0.5, -1.0, -2.0}));
  EXPECT_EQ(c["logprobs"]["top_logprobs"],
            json({nullptr, {{"c", -0.25}}, {{"c", -0.125}, {"d", -1.0}}, json::object()}));
  EXPECT_EQ(all["usage"], json({{"prompt_tokens", 2},
                                {"completion_tokens", 2},
                                {"total_tokens", 4},
                                {"prompt_tokens_details", {{"cached_tokens", 0}}}}));
  EXPECT_EQ(all["elastron"], json({{"msr", 0.5},
                                   {"esr_tiles", 0.25},
                                   {"cache_bytes", 10.0},
                                   {"full_cache_bytes", 20.0},
                                   {"gates", {"Fs"}}}));
}

TEST_F(ApiAnswers, OfGenerateAreTexts) {
  for (const bool prompt_before : {false, true}) {
    const ApiRequest r =
        parse_generate({{"prompt", "a b"}, {"n", 2}}, served_.model, prompt_before);
    ApiAnswer answer(r, served_.model, "x", 1);
    answer.take(1, first(3, -1, " c"));
    answer.take(0, first(4, -1, " d"));
    answer.take(0, last(5, -2, " e", Finish::length));
    answer.take(1, last(5, -2, "", Finish::stop));
    ASSERT_TRUE(answer.finished());
    const json all = answer.whole();
    EXPECT_EQ(all["text"], prompt_before ? json({"a b d e", "a b c"}) : json({" d e", " c"}));
    EXPECT_EQ(all["elastron"]["msr"], 0.5);
  }
}

// The server's state, not the request's fault: it may be asked again.
TEST_F(ApiAnswers, WithoutMemoryIs503) {
  const ApiRequest r = request(json::object());
  ApiAnswer answer(r, served_.model, "x", 1);
  const Update u{.finish = Finish::failed, .error = "out of memory", .no_memory = true};
  try {
    answer.take(0, json(u).get<Update>());
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 503);
    EXPECT_EQ(e.code, "out_of_memory");
  }
}

TEST_F(ApiAnswers, ChunksComeToTheSame) {
  const ApiRequest whole_request = request({{"n", 2}});
  const ApiRequest r =
      request({{"n", 2}, {"stream", true}, {"stream_options", {{"include_usage", true}}}});
  ApiAnswer whole(whole_request, served_.model, "x", 1), chunks(r, served_.model, "x", 1);
  std::vector<std::string> texts(2), finishes(2);
  std::vector<json> tokens(2, json::array());
  const auto take = [&](size_t choice, const Update& u) {
    whole.take(choice, u);
    for (const json& chunk : chunks.take(choice, u)) {
      ASSERT_EQ(chunk["choices"].size(), 1u);
      const json& c = chunk["choices"][0];
      const size_t i = c["index"];
      texts[i] += c["text"].get<std::string>();
      for (const json& t : c["logprobs"]["tokens"]) tokens[i].push_back(t);
      if (!c["finish_reason"].is_null()) finishes[i] = c["finish_reason"];
    }
  };
  take(1, first(4, -1, ""));
  take(0, first(3, -1, " c"));
  take(1, last(5, -1, " e", Finish::stop));
  take(0, last(1, -1, " a", Finish::length));
  ASSERT_TRUE(chunks.finished());
  const json all = whole.whole();
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(all["choices"][i]["text"], texts[i]);
    EXPECT_EQ(all["choices"][i]["finish_reason"], finishes[i]);
    EXPECT_EQ(all["choices"][i]["logprobs"]["tokens"], tokens[i]);
  }
  const auto rest = chunks.last_chunks();
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_TRUE(rest[0]["choices"].empty());
  EXPECT_EQ(rest[0]["usage"], all["usage"]);
}

// As other servers have it: clients that score with one token to generate count on it.
TEST_F(ApiAnswers, TheEndOfATextIsScoredAndNoPartOfIt) {
  const ApiRequest r = request(json::object());
  ApiAnswer answer(r, served_.model, "x", 1);
  Update u = first(4, -1, "");
  u.end = std::exchange(u.token, std::nullopt);
  u.finish = Finish::stop;
  answer.take(0, u);
  const json all = answer.whole();
  EXPECT_EQ(all["choices"][0]["text"], "a b");
  EXPECT_EQ(all["choices"][0]["logprobs"]["tokens"], json({"a", "b", "d"}));
  EXPECT_EQ(all["usage"]["completion_tokens"], 1);
}

TEST_F(ApiAnswers, Failures) {
  const ApiRequest r = request(json::object());
  ApiAnswer answer(r, served_.model, "x", 1);
  Update u{.number = 0, .finish = Finish::failed, .error = "too long", .refused = true};
  try {
    answer.take(0, u);
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 400);
    EXPECT_STREQ(e.what(), "too long");
  }
  u.refused = false;
  try {
    answer.take(0, u);
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 500);
  }
}

// Between data ranks an update travels as JSON.
TEST_F(ApiAnswers, AnUpdateIsWhatItWasAfterItsWay) {
  Update ended = last(2, -0.5, "\xc3\xa9", Finish::stop);
  ended.end = ended.token;
  for (const Update& u : {first(4, -1, "x"), ended, Update{}}) {
    const auto back = json::from_cbor(json::to_cbor(json(u))).get<Update>();
    EXPECT_EQ(json(back), json(u));
    EXPECT_EQ(back.prompt.has_value(), u.prompt.has_value());
    EXPECT_EQ(back.finish, u.finish);
  }
}

}  // namespace
}  // namespace elastron::serving

// What a body asks for, and what is refused.
#include "serving/api_request.h"

#include <gtest/gtest.h>

#include "serving/api_error.h"
#include "tests/serving/served_words.h"

namespace elastron::serving {
namespace {

using nlohmann::json;

class ApiRequests : public ::testing::Test {
 protected:
  ApiRequest completion(const json& body) { return parse_completion(body, served_.model); }
  // -> the error's param
  std::string refused(const json& body, int status = 400) {
    try {
      completion(body);
    } catch (const ApiError& e) {
      EXPECT_EQ(e.status, status) << e.what();
      const json told = error_body(e)["error"];
      EXPECT_EQ(told["message"], e.what());
      EXPECT_EQ(told["type"], "invalid_request_error");
      return e.param;
    }
    ADD_FAILURE() << body;
    return "";
  }
  test::ServedWords served_;
};

TEST_F(ApiRequests, DefaultsAreOpenAIs) {
  const ApiRequest r = completion({{"model", "words"}, {"prompt", "a b"}});
  ASSERT_EQ(r.choices.size(), 1u);
  const auto& c = r.choices[0];
  EXPECT_EQ(c.prompt, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(c.max_tokens, 16);
  EXPECT_EQ(c.sampling.temperature, 1);
  EXPECT_EQ(c.sampling.top_p, 1);
  EXPECT_EQ(c.sampling.top_k, 0);
  EXPECT_FALSE(c.top_logprobs);
  EXPECT_FALSE(r.stream || r.echo || c.prompt_logprobs || c.ignore_eos);
}

TEST_F(ApiRequests, APrefixGoesBeforeEveryPrompt) {
  served_.model.leading = {4};
  for (const json& prefix : {json("a b"), json({4, 1, 2})}) {
    const ApiRequest r = completion(
        {{"prompt", {"c", "d e"}}, {"elastron", {{"prefix", prefix}}}, {"max_tokens", 2}});
    ASSERT_EQ(r.choices.size(), 2u);
    EXPECT_EQ(r.choices[0].prompt, (std::vector<int32_t>{4, 1, 2, 3}));
    EXPECT_EQ(r.choices[1].prompt, (std::vector<int32_t>{4, 1, 2, 4, 5}));
    for (const auto& choice : r.choices) EXPECT_EQ(choice.prefix_tokens, 3);
  }
  EXPECT_EQ(completion({{"prompt", "a"}}).choices[0].prefix_tokens, 0);
  for (const json& prefix : {json(3), json::array(), json({99}), json({"a"})}) {
    EXPECT_EQ(refused({{"prompt", "a"}, {"elastron", {{"prefix", prefix}}}}), "elastron") << prefix;
  }
  for (const json& own : {json(3), json("x"), json::array()}) {
    EXPECT_EQ(refused({{"prompt", "a"}, {"elastron", own}}), "elastron");
  }
  for (const bool before : {true, false}) {
    const ApiRequest r =
        parse_generate({{"prompt", "c"}, {"elastron", {{"prefix", "a b"}}}}, served_.model, before);
    EXPECT_EQ(r.choices[0].prompt, (std::vector<int32_t>{4, 1, 2, 3}));
    EXPECT_EQ(r.prompt_texts[0], "c");
  }
  EXPECT_EQ(refused({{"prompt", ""}, {"elastron", {{"prefix", "a"}}}}), "prompt");
  EXPECT_EQ(refused({{"prompt", "a"}, {"echo", true}, {"elastron", {{"prefix", "a"}}}}),
            "elastron");
  EXPECT_EQ(refused({{"prompt", "a"}, {"elastron", {{"prefix_messages", 1}}}}), "prefix_messages");
  EXPECT_EQ(refused({{"prompt", "a b c d e a b c d e"},
                     {"elastron", {{"prefix", "a b c d e a b c d e"}}}}),
            "prompt");
}

TEST_F(ApiRequests, EveryFieldArrives) {
  const ApiRequest r = completion({{"prompt", {"a", "b c"}},
                                   {"n", 2},
                                   {"max_tokens", 3},
                                   {"temperature", 0.5},
                                   {"top_p", 0.25},
                                   {"top_k", 4},
                                   {"min_p", 0.125},
                                   {"seed", -1},
                                   {"stop", {"x", "yz"}},
                                   {"stop_token_ids", {5}},
                                   {"logprobs", 2},
                                   {"echo", true},
                                   {"stream", true},
                                   {"stream_options", {{"include_usage", true}}},
                                   {"elastron", {{"gates", true}}},
                                   {"ignore_eos", true},
                                   {"min_tokens", 2},
                                   {"presence_penalty", 0.0},
                                   {"logit_bias", json::object()},
                                   {"user", "somebody"},
                                   {"suffix", nullptr}});
  EXPECT_TRUE(r.stream && r.usage_chunk && r.echo && r.gates);
  ASSERT_EQ(r.choices.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const auto& c = r.choices[i];
    EXPECT_EQ(c.prompt, i < 2 ? std::vector<int32_t>{1} : (std::vector<int32_t>{2, 3}));
    EXPECT_EQ(c.sampling.stream, i);
    EXPECT_EQ(c.sampling.seed, ~uint64_t(0));
    EXPECT_EQ(c.sampling.temperature, 0.5);
    EXPECT_EQ(c.sampling.top_p, 0.25);
    EXPECT_EQ(c.sampling.top_k, 4);
    EXPECT_EQ(c.sampling.min_p, 0.125);
    EXPECT_EQ(c.stops, (std::vector<std::string>{"x", "yz"}));
    EXPECT_EQ(c.stop_ids, std::vector<int32_t>{5});
    EXPECT_EQ(c.top_logprobs, 2);
    EXPECT_TRUE(c.prompt_logprobs && c.ignore_eos);
    EXPECT_EQ(c.max_tokens, 3);
    EXPECT_EQ(c.min_tokens, 2);
  }
}

TEST_F(ApiRequests, PromptsAreTextsOrIds) {
  EXPECT_EQ(completion({{"prompt", {1, 2, 3}}}).prompts,
            (std::vector<std::vector<int32_t>>{{1, 2, 3}}));
  const ApiRequest r = completion({{"prompt", {{1}, {2, 3}}}});
  EXPECT_EQ(r.prompts, (std::vector<std::vector<int32_t>>{{1}, {2, 3}}));
  EXPECT_EQ(r.prompt_texts.size(), 2u);
  for (const json& bad : {json(1), json(json::array()), json({1, "a"}), json({{1}, "a"}),
                          json({-1}), json({7}), json({1.5}), json({{1}, {99}}), json(nullptr),
                          json(""), json(json::array({json::array()})), json({{"a", 1}})}) {
    EXPECT_EQ(refused({{"prompt", bad}}), "prompt") << bad;
  }
}

TEST_F(ApiRequests, WhatIsOutOfRangeIsNamed) {
  const auto with = [](const char* name, const json& value) {
    json body = {{"prompt", "a"}};
    body[name] = value;
    return body;
  };
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, json>>{{"n", 0},
                                                 {"n", 1000000},
                                                 {"n", 1.5},
                                                 {"n", "1"},
                                                 {"n", uint64_t(1) << 63},
                                                 {"temperature", -0.1},
                                                 {"temperature", 3},
                                                 {"temperature", true},
                                                 {"top_p", 1.01},
                                                 {"min_p", -1},
                                                 {"max_tokens", 0},
                                                 {"max_tokens", -1},
                                                 {"max_tokens", 20},
                                                 {"logprobs", 21},
                                                 {"stop", json::array({1})},
                                                 {"stop", 5},
                                                 {"stop_token_ids", json::array({7})},
                                                 {"stream", 1},
                                                 {"echo", "yes"},
                                                 {"best_of", 2},
                                                 {"presence_penalty", 0.5},
                                                 {"suffix", "x"},
                                                 {"logit_bias", {{"5", 1}}},
                                                 {"seed", 1.5},
                                                 {"colour", "blue"},
                                                 {"stream_options", {{"include_usage", true}}}}) {
    EXPECT_EQ(refused(with(name, value)), name) << value;
  }
  EXPECT_EQ(refused({{"prompt", "a"}, {"stop", json(std::vector<std::string>(17, "x"))}}), "stop");
  EXPECT_EQ(refused({{"prompt", "a"}, {"elastron", {{"gate", true}}}}), "gate");
  EXPECT_EQ(refused({{"prompt", json(std::vector<int>(21, 1))}}), "prompt");
  EXPECT_EQ(refused({{"prompt", json(std::vector<int>(20, 1))}, {"max_tokens", 1}}), "max_tokens");
  EXPECT_EQ(refused({{"prompt", json(std::vector<std::string>(65, "a"))}, {"n", 2}}), "n");
  EXPECT_EQ(refused({{"prompt", "a"}, {"model", "gpt"}}, 404), "model");
  EXPECT_EQ(refused(json::array()), "");
}

TEST_F(ApiRequests, EchoAloneGeneratesNothing) {
  const ApiRequest r =
      completion({{"prompt", json(std::vector<int>(20, 1))}, {"max_tokens", 0}, {"echo", true}});
  EXPECT_EQ(r.choices[0].max_tokens, 0);
}

TEST_F(ApiRequests, ConversationsWantATemplate) {
  try {
    parse_chat({{"messages", {{{"role", "user"}, {"content", "a"}}}}}, served_.model);
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.param, "messages");
  }
}

// vLLM's plain interface.
TEST_F(ApiRequests, GenerateHasAPromptAndRulesOfDrawing) {
  const auto generate = [&](const json& body) {
    return parse_generate(body, served_.model, /*prompt_before=*/true);
  };
  // What RULER's client sends.
  const ApiRequest r = generate({{"prompt", "a b"},
                                 {"max_tokens", 3},
                                 {"temperature", 0.0},
                                 {"top_k", 32},
                                 {"top_p", 1.0},
                                 {"stop", json::array()}});
  ASSERT_EQ(r.choices.size(), 1u);
  EXPECT_EQ(r.kind, ApiKind::generate);
  EXPECT_TRUE(r.echo);
  EXPECT_FALSE(parse_generate({{"prompt", "a"}}, served_.model, false).echo);
  EXPECT_EQ(r.choices[0].prompt, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(r.choices[0].max_tokens, 3);
  EXPECT_EQ(r.choices[0].sampling.top_k, 32);
  EXPECT_EQ(generate({{"prompt", "a"}, {"n", 2}, {"best_of", 2}}).choices.size(), 2u);
  EXPECT_EQ(generate({{"prompt", "a"}}).choices[0].max_tokens, 16);
  generate({{"prompt", "a"}, {"use_beam_search", false}, {"repetition_penalty", 1.0}});
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, json>>{{"prompt", nullptr},
                                                 {"prompt", ""},
                                                 {"prompt", {1, 2}},
                                                 {"stream", true},
                                                 {"max_tokens", 20},
                                                 {"best_of", 2},
                                                 {"use_beam_search", true},
                                                 {"repetition_penalty", 1.5},
                                                 {"logprobs", 1},
                                                 {"echo", true},
                                                 {"colour", "blue"}}) {
    json body = {{"prompt", "a"}};
    body[name] = value;
    try {
      generate(body);
      ADD_FAILURE() << body;
    } catch (const ApiError& e) {
      EXPECT_EQ(e.status, 400);
      EXPECT_EQ(e.param, name);
    }
  }
}

// As other servers have it: what a tokenizer puts before texts stands before a prompt's.
TEST_F(ApiRequests, TextsBeginAsTheTokenizerHasThem) {
  served_.model.leading = {5};
  const auto first = [&](const json& body) { return completion(body).prompts.at(0); };
  EXPECT_EQ(first({{"prompt", "a b"}}), (std::vector<int32_t>{5, 1, 2}));
  EXPECT_EQ(first({{"prompt", {"a"}}}), (std::vector<int32_t>{5, 1}));
  EXPECT_EQ(first({{"prompt", "e a"}}), (std::vector<int32_t>{5, 1}));  // it begins so
  EXPECT_EQ(first({{"prompt", "a"}, {"add_special_tokens", false}}), (std::vector<int32_t>{1}));
  EXPECT_EQ(first({{"prompt", {1, 2}}}), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(parse_generate({{"prompt", "a"}}, served_.model, false).prompts[0],
            (std::vector<int32_t>{5, 1}));
  EXPECT_EQ(completion({{"prompt", "a b"}, {"echo", true}}).prompt_texts[0], "a b");
}

// Texts come without control tokens, and end at them all the same where that is asked for.
TEST_F(ApiRequests, AStopThatIsAControlTokenIsAStopId) {
  const auto tokenizer = data::parse_tokenizer(
      R"({"added_tokens": [{"id": 2, "content": "<end>", "special": true},
                           {"id": 3, "content": "<word>", "special": false}],
          "normalizer": null, "post_processor": null, "decoder": null,
          "pre_tokenizer": {"type": "WhitespaceSplit"},
          "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0, "a": 1}}})",
      "words");
  served_.model.tokenizer = tokenizer.get();
  const ApiRequest r = completion(
      {{"prompt", "a"}, {"stop", {"<end>", "<word>", "a", "x"}}, {"stop_token_ids", {1}}});
  EXPECT_EQ(r.choices[0].stop_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(r.choices[0].stops.size(), 4u);
  EXPECT_TRUE(r.choices[0].skip_controls);
  EXPECT_FALSE(
      completion({{"prompt", "a"}, {"skip_special_tokens", false}}).choices[0].skip_controls);
}

class Conversations : public ApiRequests {
 protected:
  Conversations() {
    chat_ = data::ChatTemplate::open("/nowhere", data::ChatTemplateSetting::llama3_0);
    served_.model.chat = &chat_;
    served_.model.max_position = 1000;
  }
  std::string refused_chat(const json& body) {
    try {
      parse_chat(body, served_.model);
    } catch (const ApiError& e) {
      return e.param;
    }
    ADD_FAILURE() << body;
    return "";
  }
  data::ChatTemplate chat_ = data::ChatTemplate::open("/nowhere", data::ChatTemplateSetting::none);
};

TEST_F(Conversations, AreRendered) {
  const json parts = {{{"type", "text"}, {"text", "a "}}, {{"type", "text"}, {"text", "b"}}};
  const ApiRequest r = parse_chat(
      {{"messages",
        {{{"role", "developer"}, {"content", "c"}}, {{"role", "user"}, {"content", parts}}}},
       {"logprobs", true},
       {"top_logprobs", 3},
       {"max_completion_tokens", 5}},
      served_.model);
  const std::vector<data::ChatMessage> turns = {{"system", "c"}, {"user", "a b"}};
  EXPECT_EQ(r.prompt_texts[0], chat_.render(turns, true).text);
  EXPECT_EQ(r.choices[0].top_logprobs, 3);
  EXPECT_EQ(r.choices[0].max_tokens, 5);
  // Without a limit: what there is room for.
  const ApiRequest all =
      parse_chat({{"messages", {{{"role", "user"}, {"content", "a"}}}}}, served_.model);
  EXPECT_EQ(all.choices[0].max_tokens, 1000 - int64_t(all.prompts[0].size()));
}

TEST_F(Conversations, ShareTheirFirstMessages) {
  const json turns = {{{"role", "system"}, {"content", "a b"}},
                      {{"role", "user"}, {"content", "c"}},
                      {{"role", "assistant"}, {"content", "d"}},
                      {{"role", "user"}, {"content", "e"}}};
  const std::vector<data::ChatMessage> all = {
      {"system", "a b"}, {"user", "c"}, {"assistant", "d"}, {"user", "e"}};
  int64_t before = 0;
  for (int64_t first = 1; first < 4; ++first) {
    const ApiRequest r = parse_chat(
        {{"messages", turns}, {"elastron", {{"prefix_messages", first}}}}, served_.model);
    const auto chat = chat_.render(std::span(all).first(size_t(first)), false, "");
    const auto ids = served_.tokenizer->encode(chat.text, chat.contents);
    EXPECT_EQ(r.choices[0].prefix_tokens, int64_t(ids.size()));
    EXPECT_GT(r.choices[0].prefix_tokens, before);
    before = r.choices[0].prefix_tokens;
    EXPECT_TRUE(std::equal(ids.begin(), ids.end(), r.choices[0].prompt.begin()));
  }
  for (const json& none : {json(0), json(4), json("1")}) {
    const std::string param =
        refused_chat({{"messages", turns}, {"elastron", {{"prefix_messages", none}}}});
    EXPECT_TRUE(param == "elastron" || param == "prefix_messages") << none << " " << param;
  }
  EXPECT_EQ(refused_chat({{"messages", turns}, {"elastron", {{"prefix", "a"}}}}), "prefix");
}

TEST_F(Conversations, WhatIsNoneIsRefused) {
  const json good = {{"role", "user"}, {"content", "a"}};
  for (const json& messages :
       {json(nullptr), json::array(), json("a"), json({1}), json({{{"role", "user"}}}),
        json({{{"role", "robot"}, {"content", "a"}}}), json({{{"role", 1}, {"content", "a"}}}),
        json({{{"role", "user"}, {"content", 5}}}),
        json({{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}}),
        json({{{"role", "user"}, {"content", "a"}, {"tool_calls", json::array()}}})}) {
    EXPECT_EQ(refused_chat({{"messages", messages}}), "messages") << messages;
  }
  EXPECT_EQ(refused_chat({{"messages", {good}}, {"tools", {{{"type", "function"}}}}}), "tools");
  EXPECT_EQ(refused_chat({{"messages", {good}}, {"top_logprobs", 2}}), "top_logprobs");
  EXPECT_EQ(refused_chat({{"messages", {good}}, {"logprobs", 2}}), "logprobs");
  EXPECT_EQ(refused_chat({{"messages", {good}}, {"response_format", {{"type", "json_object"}}}}),
            "response_format");
  EXPECT_EQ(refused_chat({{"messages", {good}}, {"prompt", "a"}}), "prompt");
}

}  // namespace
}  // namespace elastron::serving

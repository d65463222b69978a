// The text of tokens that come one after the other is that of all of them, and never less sure.
#include "inference/text_stream.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace elastron::inference {
namespace {

class TextStreams : public ::testing::TestWithParam<const char*> {
 protected:
  static std::unique_ptr<data::Tokenizer> open(const std::string& name) {
    return data::load_tokenizer(ELASTRON_TEST_FIXTURES "/tokenizer/" + name);
  }
};

TEST_P(TextStreams, GiveTheTextOfAllTokensInCharacters) {
  const auto tokenizer = open(GetParam());
  for (const std::string text : {"A line, and another.\n\n  Indented; 12345.67",
                                 "äöü 你好,世界 🙂🙃 e\xcc\x81nd", "x"}) {
    const auto ids = tokenizer->encode(text);
    TextStream stream(*tokenizer, {});
    std::string all;
    for (const int32_t id : ids) {
      const std::string piece = stream.add(id);
      EXPECT_EQ(piece.find("\xef\xbf\xbd"), std::string::npos) << piece;
      all += piece;
    }
    all += stream.finish();
    EXPECT_EQ(all, tokenizer->decode(ids));
  }
}

// Half a character at the end.
TEST_P(TextStreams, SayThatACharacterIsNotWhole) {
  const auto tokenizer = open(GetParam());
  auto ids = tokenizer->encode("so 🙃");
  ids.pop_back();
  TextStream stream(*tokenizer, {});
  std::string all;
  for (const int32_t id : ids) all += stream.add(id);
  EXPECT_EQ(all.find("\xef\xbf\xbd"), std::string::npos);
  EXPECT_EQ(all + stream.finish(), tokenizer->decode(ids));
}

INSTANTIATE_TEST_SUITE_P(Of, TextStreams,
                         ::testing::Values("qwen3", "llama3", "llama2", "mistral", "nemo"));

TEST_F(TextStreams, EndBeforeTheFirstStopString) {
  const auto tokenizer = open("qwen3");
  const auto run = [&](const std::string& text, std::vector<std::string> stops) {
    TextStream stream(*tokenizer, std::move(stops));
    std::string all;
    for (const int32_t id : tokenizer->encode(text)) {
      if (stream.stopped()) return all + "!";
      all += stream.add(id);
    }
    all += stream.finish();
    return all + (stream.stopped() ? "!" : "");
  };
  EXPECT_EQ(run("one two three", {}), "one two three");
  EXPECT_EQ(run("one two three", {""}), "one two three");
  EXPECT_EQ(run("one two three", {"four"}), "one two three");
  EXPECT_EQ(run("one two three", {"two"}), "one !");
  EXPECT_EQ(run("one two three", {"three", "e t", "two"}), "on!");
  EXPECT_EQ(run("one two three", {"three"}), "one two !");
  EXPECT_EQ(run("one two three", {"one"}), "!");
  // A beginning that comes to nothing, and then the whole.
  EXPECT_EQ(run("ababac ab", {"abac"}), "ab!");
  EXPECT_EQ(run("ababa", {"abac"}), "ababa");
  EXPECT_EQ(run("x 你好 y", {"好"}), "x 你!");
}

// What may become a stop string waits.
// Between halves of a character, too.
TEST_F(TextStreams, MayLeaveControlTokensOut) {
  const auto tokenizer = open("qwen3");
  const int32_t control = tokenizer->id("<|im_start|>").value();
  ASSERT_TRUE(tokenizer->is_control(control));
  const std::string text = "so 🙃 it is";
  for (const bool skip : {false, true}) {
    TextStream stream(*tokenizer, {}, skip);
    std::string all = stream.add(control);
    for (const int32_t id : tokenizer->encode(text)) {
      all += stream.add(id);
      if (skip) all += stream.add(control);
    }
    all += stream.finish();
    EXPECT_EQ(all, skip ? text : "<|im_start|>" + text);
  }
}

TEST_F(TextStreams, GiveNothingThatAStopStringMayTakeBack) {
  const auto tokenizer = open("qwen3");
  TextStream stream(*tokenizer, {"bcd"});
  const auto add = [&](const char* text) { return stream.add(tokenizer->encode(text).at(0)); };
  EXPECT_EQ(add("a"), "a");
  EXPECT_EQ(add("b"), "");
  EXPECT_EQ(add("c"), "");
  EXPECT_EQ(add("b"), "bc");
  EXPECT_EQ(add("c"), "");
  EXPECT_EQ(add("d"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.finish(), "");
  EXPECT_THROW(add("e"), LogicError);
}

}  // namespace
}  // namespace elastron::inference

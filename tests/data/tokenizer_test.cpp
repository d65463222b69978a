#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include "data/synthetic/tasks.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/split.h"
#include "tests/data/support.h"

namespace elastron::data {
namespace {

using test::Ids;
using Pieces = std::vector<std::string_view>;

TEST(Split, WhitespaceIsUnicodeWhiteSpace) {
  EXPECT_EQ(split_whitespace(""), Pieces{});
  EXPECT_EQ(split_whitespace(" \t\n"), Pieces{});
  EXPECT_EQ(split_whitespace("a,b  c\n"), (Pieces{"a,b", "c"}));
  // U+00A0, U+2003 and U+3000 separate; U+200B and U+180E do not.
  EXPECT_EQ(split_whitespace("a\u00a0b\u2003c\u3000d"), (Pieces{"a", "b", "c", "d"}));
  EXPECT_EQ(split_whitespace("a\u200bb\u180ec"), (Pieces{"a\u200bb\u180ec"}));
}

TEST(Split, WordsAreRunsOfWordCharactersOrOfOthers) {
  EXPECT_EQ(split_words("Hey friend!     How are you?!?"),
            (Pieces{"Hey", "friend", "!", "How", "are", "you", "?!?"}));  // the reference's example
  EXPECT_EQ(split_words("snake_case, 3.14"), (Pieces{"snake_case", ",", "3", ".", "14"}));
  // Letters, marks and digits of any script are word characters; enclosed letters too.
  EXPECT_EQ(split_words("\u00fcber\u4e2d\u6587\u3002x\u0301y"),
            (Pieces{"\u00fcber\u4e2d\u6587", "\u3002", "x\u0301y"}));
  EXPECT_EQ(split_words("\u24b6\u200d\u0663 \u20ac5"),
            (Pieces{"\u24b6\u200d\u0663", "\u20ac", "5"}));
}

TEST(Split, AddedTokensLeftmostThenLongest) {
  const AddedTokenSplitter splitter({{"<a>", 1}, {"<a><b>", 2}, {"<b>", 3}});
  const auto ids = [&](std::string_view text) {
    std::vector<std::pair<std::string_view, int32_t>> parts;
    for (const auto& p : splitter.split(text)) parts.emplace_back(p.text, p.id);
    return parts;
  };
  using Parts = std::vector<std::pair<std::string_view, int32_t>>;
  EXPECT_EQ(ids(""), Parts{});
  EXPECT_EQ(ids("x<a>y"), (Parts{{"x", -1}, {"<a>", 1}, {"y", -1}}));
  EXPECT_EQ(ids("<a><b><b>"), (Parts{{"<a><b>", 2}, {"<b>", 3}}));
  EXPECT_EQ(ids("<<a"), (Parts{{"<<a", -1}}));
  EXPECT_EQ(ids("<a><c>"), (Parts{{"<a>", 1}, {"<c>", -1}}));
}

TEST(Split, ControlTokensAreNotFoundInPlainText) {
  const AddedTokenSplitter splitter({{"<a>", 1, true}, {"<a><b>", 2, true}, {"<b>", 3}});
  using Parts = std::vector<std::pair<std::string_view, int32_t>>;
  const auto ids = [&](std::string_view text, const std::vector<TextRange>& plain) {
    Parts parts;
    for (const auto& p : splitter.split(text, plain)) parts.emplace_back(p.text, p.id);
    return parts;
  };
  EXPECT_EQ(ids("<a>x<a>", {{4, 7}}), (Parts{{"<a>", 1}, {"x<a>", -1}}));
  EXPECT_EQ(ids("<a>x<a>", {{0, 3}}), (Parts{{"<a>x", -1}, {"<a>", 1}}));
  // One byte of it is enough; a border is not.
  EXPECT_EQ(ids("x<a>y", {{3, 4}}), (Parts{{"x<a>y", -1}}));
  EXPECT_EQ(ids("x<a>y", {{0, 1}, {4, 5}}), (Parts{{"x", -1}, {"<a>", 1}, {"y", -1}}));
  // Other added tokens are found all the same, and a shorter control token before plain text.
  EXPECT_EQ(ids("<a><b>", {{0, 6}}), (Parts{{"<a>", -1}, {"<b>", 3}}));
  EXPECT_EQ(ids("<a><b>", {{3, 6}}), (Parts{{"<a>", 1}, {"<b>", 3}}));
}

TEST(Split, PlainTextIsFollowedThroughWhatChangesIt) {
  // In the second round, behind NFC and U+FFFD, which are shorter and longer than what was there.
  const AddedTokens tokens({}, {{"<a>", 1, true}}, NormalForm::nfc);
  const std::string text = "e\u0301\xff<a>e\u0301\xff<a>";
  const auto found = [&](std::vector<TextRange> plain) {
    std::string shown;
    tokens.split(text, plain, [&](const AddedTokenSplitter::Part& part) {
      shown += part.id >= 0 ? "[" + std::string(part.text) + "]" : std::string(part.text);
    });
    return shown;
  };
  const std::string other = "\u00e9\ufffd";
  EXPECT_EQ(found({}), other + "[<a>]" + other + "[<a>]");
  EXPECT_EQ(found({{0, 7}}), other + "<a>" + other + "[<a>]");
  EXPECT_EQ(found({{7, text.size()}}), other + "[<a>]" + other + "<a>");
  EXPECT_EQ(tokens.controls_in(text), (Ids{1, 1}));
}

TEST(Tokenizer, WordLevel) {
  const auto t = test::letters();
  EXPECT_EQ(t->vocab_size(), 10);
  EXPECT_EQ(t->encode("\na b\n\nzz h "), (Ids{2, 3, 0, 9}));
  EXPECT_EQ(t->encode("a<eos>b"), (Ids{2, 1, 3}));  // found before the text is split
  const TextRange plain[] = {{0, 13}};
  EXPECT_EQ(t->encode("a <eos> b<eos><eos>", plain), (Ids{2, 0, 0, 1}));
  EXPECT_EQ(t->controls_in("a <eos> b<eos>"), (Ids{1, 1}));
  EXPECT_TRUE(t->is_control(1));
  EXPECT_FALSE(t->is_control(2));
  EXPECT_EQ(t->encode(""), Ids{});
  EXPECT_EQ(t->encode("a \xff b"), (Ids{2, 0, 3}));  // U+FFFD is an unknown word
  EXPECT_EQ(t->decode({2, 3, 0, 1}), "a b <unk> <eos>");
  EXPECT_EQ(t->id("c"), 4);
  EXPECT_EQ(t->id("zz"), std::nullopt);
  const auto words = parse_tokenizer(test::letters_json("Whitespace"), "tokenizer.json");
  EXPECT_EQ(words->encode("a.b"), (Ids{2, 0, 3}));
  EXPECT_EQ(t->encode("a.b"), (Ids{0}));
  EXPECT_EQ(test::error_of<InputError>([&] {
              t->decode({2, 10});
            }),
            "token id 10 (position 1): ids of this tokenizer are 0 to 9");
}

TEST(Tokenizer, SyntheticVocabularyIsOneTokenPerWord) {
  const auto t = parse_tokenizer(synthetic_tokenizer_json(), "synthetic");
  for (const std::string& word : synthetic_vocabulary()) {
    const Ids ids = t->encode(word);
    ASSERT_EQ(ids.size(), 1u) << word;
    EXPECT_EQ(t->decode(ids), word);
  }
  EXPECT_EQ(t->vocab_size(), int64_t(synthetic_vocabulary().size()) + 2);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

TEST(Tokenizer, TakesWhatChangesNothing) {
  const std::string padded =
      replaced(replaced(test::letters_json(), "\"truncation\": null",
                        R"("truncation": {"direction": "Right", "max_length": 1, "stride": 0})"),
               "\"padding\": null", R"("padding": {"strategy": {"Fixed": 9}, "pad_id": 1})");
  EXPECT_EQ(parse_tokenizer(padded, "t")->encode("a b"), (Ids{2, 3}));
  const std::string sequence = replaced(test::letters_json(), "\"normalizer\": null",
                                        R"("normalizer": {"type": "Sequence", "normalizers": []})");
  EXPECT_EQ(parse_tokenizer(sequence, "t")->encode("a b"), (Ids{2, 3}));
}

// The unknown word may be an added token, and is all there is then.
TEST(Tokenizer, RefusesAnEmptyVocabulary) {
  const std::string json = test::letters_json();
  const size_t begin = json.find("\"<unk>\": 0"), end = json.find("}, \"unk_token\"");
  std::string empty = json.substr(0, begin) + json.substr(end);
  empty = replaced(replaced(empty, "\"id\": 1", "\"id\": 0"), "<eos>", "<unk>");
  EXPECT_NE(test::error_of<InputError>([&] {
              parse_tokenizer(empty, "t");
            }).find("'model.vocab' is empty (t)"),
            std::string::npos);
}

TEST(Tokenizer, RefusesWhatItWouldGetWrong) {
  const struct {
    std::string from, to, message;
  } table[] = {
      {"\"WordLevel\"", "\"Unigram\"",
       "model 'Unigram' is not supported (tokenizer.json): supported: "},
      {"WhitespaceSplit", "ByteLevel", "pre_tokenizer 'ByteLevel' is not supported"},
      {"\"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}", "\"pre_tokenizer\": null",
       "pre_tokenizer 'null' is not supported"},
      {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}",
       "normalizer 'NFC' is not supported"},
      {"\"normalizer\": null",
       R"("normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFD"}]})",
       "normalizer 'Sequence' is not supported"},
      {"\"decoder\": null", "\"decoder\": {\"type\": \"Fuse\"}", "decoder 'Fuse' is not supported"},
      {"\"a\": 2", "\"a\": 3", "tokens 'a' and 'b' share the id 3"},
      {"\"h\": 9", "\"h\": 11", "the id 11 of token 'h' leaves gaps"},
      {"\"h\": 9", "\"h\": 10", "id 9 has no token"},
      {"\"h\": 9", "\"h\": 2147483648", "the id of token 'h' is not an integer in [0, 2^31)"},
      {"\"h\": 9", "\"h\": -1", "the id of token 'h' is not an integer"},
      {"\"h\": 9", "\"h\": 9.0", "the id of token 'h' is not an integer"},
      {"\"h\": 9", "\"h\": \"9\"", "the id of token 'h' is not an integer"},
      {"\"h\": 9", "\"g\": 9", "duplicate key \"g\""},
      {"\"id\": 1", "\"id\": 0", "tokens '<unk>' and '<eos>' share the id 0"},
      {"\"lstrip\": false", "\"lstrip\": true", "'added_tokens[0].lstrip' is not false"},
      {"\"content\": \"<eos>\"", "\"content\": \"\"", "'added_tokens[0].content' is not a string"},
      {"\"content\": \"<eos>\",", "", "'added_tokens[0].content' is missing"},
      {"\"unk_token\": \"<unk>\"", "\"unk_token\": \"zz\"", "'model.unk_token' is not in the voc"},
      {", \"unk_token\": \"<unk>\"", "", "'model.unk_token' is missing"},
      {"\"vocab\": {", "\"vocabulary\": {", "'model.vocab' is missing"},
      {"\"a\": 2", "\"a\xff\": 2", "not acceptable JSON"},
  };
  for (const auto& row : table) {
    const std::string text = replaced(test::letters_json(), row.from, row.to);
    const std::string message =
        test::error_of<InputError>([&] { parse_tokenizer(text, "tokenizer.json"); });
    EXPECT_NE(message.find(row.message), message.npos) << row.to << "\n  got: " << message;
    EXPECT_NE(message.find("tokenizer.json"), message.npos) << message;
    EXPECT_EQ(message.find('\n'), message.npos) << message;
  }
  for (const char* text : {"[]", "3", "{}", "{\"model\": 3}", "{\"model\": {}}"}) {
    EXPECT_NE(test::error_of<InputError>([&] { parse_tokenizer(text, "t"); }), "") << text;
  }
}

TEST(Tokenizer, SurvivesMutations) {
  const int refused = test::refused_mutations(test::letters_json(), "a b <eos> zz", 20000, 11);
  EXPECT_GT(refused, 5000);
  EXPECT_LT(refused, 20000);
}

TEST(Tokenizer, LoadsFromAFolder) {
  const test::Scratch folder;
  const std::string message = test::error_of<InputError>([&] { load_tokenizer(folder.path()); });
  EXPECT_NE(message.find(folder.path() + "/tokenizer.json"), message.npos) << message;
  folder.write("tokenizer.json", test::letters_json());
  EXPECT_EQ(load_tokenizer(folder.path())->encode("h"), Ids{9});
}

}  // namespace
}  // namespace elastron::data

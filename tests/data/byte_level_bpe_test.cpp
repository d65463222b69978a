// Byte-level BPE against ids of the Python package (tests/oracle/make_tokenizer_fixtures.py), and
// what it must refuse or survive.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/utf8.h"
#include "data/tokenizer/byte_level.h"
#include "tests/data/support.h"
#include "tests/support/cpu_time.h"

namespace elastron::data {
namespace {

using nlohmann::json;
using test::Ids;

std::string fixture(const std::string& family) {
  return std::string(ELASTRON_TEST_FIXTURES) + "/tokenizer/" + family;
}

struct Case {
  std::string text, decoded;
  bool has_text = false;
  Ids ids;
};

std::vector<Case> cases(const std::string& family) {
  std::ifstream file(fixture(family) + "/cases.jsonl");
  std::vector<Case> all;
  for (std::string line; std::getline(file, line);) {
    const json object = json::parse(line);
    Case c{.text = object.value("text", ""),
           .decoded = object["decoded"],
           .has_text = object.contains("text") || object.contains("hex"),
           .ids = object["ids"]};
    const std::string hex = object.value("hex", "");
    for (size_t i = 0; i < hex.size(); i += 2) {
      c.text += char(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    all.push_back(std::move(c));
  }
  return all;
}

// Pipelines of models, which normalize and drop nothing but by NFC, and others.
class BpeOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, BpeOf,
                         testing::Values("qwen3", "llama3", "qwen3.5", "llama4", "gpt4", "nemo",
                                         "mistral", "llama2"));
class AnyBpeOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, AnyBpeOf,
                         testing::Values("qwen3", "llama3", "qwen3.5", "llama4", "gpt4", "nemo",
                                         "mistral", "llama2", "pieces", "digits"));

TEST_P(AnyBpeOf, GivesTheIdsOfTheReference) {
  const auto tokenizer = load_tokenizer(fixture(GetParam()));
  const auto all = cases(GetParam());
  ASSERT_GT(all.size(), 140u);
  for (const Case& c : all) {
    if (c.has_text) {
      EXPECT_EQ(tokenizer->encode(c.text), c.ids) << c.text;
    }
    EXPECT_EQ(tokenizer->decode(c.ids), c.decoded) << c.text;
  }
}

TEST_P(AnyBpeOf, EncodesOnManyThreads) {
  const auto tokenizer = load_tokenizer(fixture(GetParam()));
  const auto all = cases(GetParam());
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (const Case& c : all) count += c.has_text && tokenizer->encode(c.text) != c.ids;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

// Long words of one class, and text that is all matches of one character, take time in proportion.
TEST_P(BpeOf, LongRunsAreLinear) {
  // So much that what is made of it stays in a core's cache, and that freed memory stays in the
  // process: otherwise the machine's memory and new pages, whose price moves, are what is timed.
  constexpr size_t kBytes = 128'000;
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  const auto tokenizer = load_tokenizer(fixture(GetParam()));
  const std::vector<std::string> units = {
      "a",   " ",           "=",      "\n",           "7",
      " \n", "\u4e2d",      "\u0301", "\u0301\u0327", "x\u0301\u0323",
      "<",   "<|im_start|", "ab'S",   "\t ",          "\xff"};
  for (const std::string& unit : units) {
    std::string text;
    while (text.size() < kBytes) text += unit;
    const auto seconds = [&](std::string_view part) {
      double best = 1e9;
      for (int i = 0; i < 9; ++i) {
        const double start = elastron::test::cpu_seconds();
        EXPECT_FALSE(tokenizer->encode(part).empty());
        best = std::min(best, elastron::test::cpu_seconds() - start);
      }
      return best;
    };
    const double eighth = seconds(std::string_view(text).substr(0, text.size() / 8));
    // Quadratic time would be 64 times as long.
    EXPECT_LT(seconds(text), 30 * eighth + 0.002) << unit;
  }
}

TEST_P(BpeOf, RoundTripsWhatItDoesNotNormalize) {
  const auto tokenizer = load_tokenizer(fixture(GetParam()));
  std::string text;
  for (int byte = 0; byte < 256; ++byte) {
    text += byte < 0x80 ? std::string(1, char(byte))
                        : std::string{char(0xc2 + byte / 0xc0), char(0x80 | (byte & 0x3f))};
  }
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_EQ(tokenizer->encode(""), Ids{});
  EXPECT_EQ(tokenizer->decode({}), "");
  EXPECT_EQ(test::error_of<InputError>([&] {
              tokenizer->decode({0, -1});
            }),
            "token id -1 (position 1): ids of this tokenizer are 0 to " +
                std::to_string(tokenizer->vocab_size() - 1));
  EXPECT_EQ(tokenizer->id("zzzz"), std::nullopt);
}

// As the Python package with encode_special_tokens = True: control tokens are spelled in pieces,
// <think>, which is none, is found.
TEST(ByteLevelBpe, ControlTokensInPlainText) {
  const std::pair<const char*, Ids> table[] = {
      {"qwen3", {71,  432, 291, 345, 91,  387, 2313, 91,  407, 27,   91, 387, 2672,
                 91,  29,  565, 480, 899, 220, 5024, 198, 88,  316,  27, 91,  68,
                 370, 62,  418, 91,  29,  27,  91,   420, 519, 4813, 91, 29,  4263}},
      {"llama3", {71, 435, 291, 346, 91,  388, 2395, 91,  410,  27,  91, 388, 2762, 91,
                  29, 572, 484, 923, 346, 331, 988,  410, 88,   317, 27, 91,  68,   372,
                  62, 420, 91,  29,  27,  91,  422,  525, 4921, 91,  29, 68,  642}}};
  const std::string text =
      "hello <|im_end|>\n<|im_start|>assistant <think>\nyes<|eot_id|><|endoftext|>e\u0301";
  const TextRange all[] = {{0, text.size()}};
  for (const auto& [family, ids] : table) {
    EXPECT_EQ(load_tokenizer(fixture(family))->encode(text, all), ids) << family;
  }
}

// 256 bytes, then "ab" 256, "abc" 257, "bc" 258; the added <x> 259 and é! 260 (normalized).
std::string small_json() {
  json vocab;
  for (size_t byte = 0; byte < 256; ++byte) vocab[byte_characters()[byte]] = byte;
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  vocab["bc"] = 258;
  const auto added = [](int id, const char* content, bool normalized) {
    return json{{"id", id},        {"content", content}, {"single_word", false},
                {"lstrip", false}, {"rstrip", false},    {"normalized", normalized},
                {"special", false}};
  };
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", false},
                           {"use_regex", false}};
  return json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", {added(259, "<x>", false), added(260, "\u00e9!", true)}},
              {"normalizer", {{"type", "NFC"}}},
              {"pre_tokenizer",
               {{"type", "Sequence"},
                {"pretokenizers",
                 {{{"type", "Split"},
                   {"pattern", {{"Regex", R"(\p{L}+|\s+)"}}},
                   {"behavior", "Isolated"},
                   {"invert", false}},
                  byte_level}}}},
              {"post_processor", nullptr},
              {"decoder", byte_level},
              {"model",
               {{"type", "BPE"},
                {"dropout", nullptr},
                {"ignore_merges", false},
                {"vocab", vocab},
                {"merges", json::array({json::array({"b", "c"}), json::array({"a", "b"})})}}}}
      .dump();
}

TEST(ByteLevelBpe, SmallOne) {
  const auto t = parse_tokenizer(small_json(), "t");
  EXPECT_EQ(t->vocab_size(), 261);
  EXPECT_EQ(t->encode("abc"), (Ids{'a', 258}));  // lowest rank first; 257 has no merge
  EXPECT_EQ(t->encode("ab ab1"), (Ids{256, ' ', 256, '1'}));
  EXPECT_EQ(t->encode("a<x>e\u0301!e\u0301"), (Ids{'a', 259, 260, 0xc3, 0xa9}));
  EXPECT_EQ(t->id("\u0120"), ' ');  // tokens as the file writes them
  EXPECT_EQ(t->decode({257, 0xc3, 0xa9, 0xc3, 'x', 259}), "abc\u00e9\ufffdx<x>");
  // "é!" is in the byte alphabet, so that the reference decodes it as the bytes E9 21.
  EXPECT_EQ(t->decode({260}), "\ufffd!");
}

// Replaces one value of the small file; null removes it.
std::string with(const std::string& pointer, const json& value) {
  json file = json::parse(small_json());
  file[json::json_pointer(pointer)] = value;
  return file.dump();
}

TEST(ByteLevelBpe, Options) {
  const auto ids = [](const std::string& file, std::string_view text) {
    return parse_tokenizer(file, "t")->encode(text);
  };
  EXPECT_EQ(ids(with("/model/ignore_merges", true), "abc ab"), (Ids{257, ' ', 256}));
  EXPECT_EQ(ids(with("/model/merges", json::array({"b c", "a b"})), "abc"), (Ids{'a', 258}));
  // Of two ranks for a pair the later one counts.
  EXPECT_EQ(ids(with("/model/merges", json::array({"b c", "a b", "b c"})), "abc"), (Ids{256, 'c'}));
  EXPECT_EQ(ids(with("/normalizer", nullptr), "e\u0301"), (Ids{'e', 0xcc, 0x81}));
  const json none = {{"type", "Sequence"}, {"normalizers", json::array()}};
  EXPECT_EQ(ids(with("/normalizer", none), "e\u0301"), (Ids{'e', 0xcc, 0x81}));
  const json one = {{"type", "Sequence"}, {"normalizers", json::array({{{"type", "NFC"}}})}};
  EXPECT_EQ(ids(with("/normalizer", one), "e\u0301"), (Ids{0xc3, 0xa9}));
  const std::string split = "/pre_tokenizer/pretokenizers/0";
  EXPECT_EQ(ids(with(split + "/behavior", "Removed"), "ab1 ab2"), (Ids{'1', '2'}));
  json inverted = json::parse(with(split + "/behavior", "Removed"));
  inverted[json::json_pointer(split)]["invert"] = true;
  EXPECT_EQ(ids(inverted.dump(), "ab1 ab2"), (Ids{256, ' ', 256}));
  const auto behaves = [&](const char* behavior) {
    json file = json::parse(with(split + "/behavior", behavior));
    file[json::json_pointer(split)]["pattern"] = {{"String", "b"}};
    return ids(file.dump(), "abbcab");
  };
  EXPECT_EQ(behaves("Isolated"), (Ids{'a', 'b', 'b', 'c', 'a', 'b'}));
  EXPECT_EQ(behaves("MergedWithPrevious"), (Ids{256, 'b', 'c', 256}));
  EXPECT_EQ(behaves("MergedWithNext"), (Ids{'a', 'b', 258, 'a', 'b'}));
  EXPECT_EQ(behaves("Contiguous"), (Ids{'a', 'b', 'b', 'c', 'a', 'b'}));
  // A digit at a time: "1b" and "b1" have no merge, and "ab" is not cut.
  json digits = json::parse(with(split, {{"type", "Digits"}, {"individual_digits", true}}));
  EXPECT_EQ(ids(digits.dump(), "ab12ab"), (Ids{256, '1', '2', 256}));
  // Without tokens for bytes that UTF-8 does not have.
  json short_of = json::parse(small_json());
  short_of["model"]["vocab"].erase(byte_characters()[0xc0]);
  short_of["model"]["vocab"]["\u00c0\u00c0"] = 0xc0;
  EXPECT_EQ(ids(short_of.dump(), "ab\xc0\xff"), (Ids{256, 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd}));
  // By GPT-2's pattern: "ab", " abc", "'d".
  EXPECT_EQ(
      ids(with("/pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}), "ab abc'd"),
      (Ids{256, ' ', 'a', 258, '\'', 'd'}));
}

TEST(ByteLevelBpe, RefusesWhatItWouldGetWrong) {
  const std::string split = "/pre_tokenizer/pretokenizers/0";
  const std::string regex = split + "/pattern/Regex";
  const json byte_level = json::parse(small_json())["decoder"];
  const struct {
    std::string pointer;
    json value;
    std::string message;
  } table[] = {
      {"/normalizer", {{"type", "NFD"}}, "normalizer 'NFD' is not supported"},
      {"/decoder", nullptr, "decoder 'null' is not supported"},
      {"/pre_tokenizer", nullptr, "pre_tokenizer 'null' is not supported"},
      {"/pre_tokenizer/pretokenizers", json::array(), "is not a list with something in it"},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", true, "add_prefix_space 'true' is not"},
      {"/pre_tokenizer/pretokenizers/1/type", "Digits", "pretokenizers[1] 'Digits' is not supp"},
      {split + "/type", "Metaspace", "pretokenizers[0] 'Metaspace' is not supported"},
      {split + "/behavior", "Merged", "behavior 'Merged' is not supported"},
      {split + "/pattern", {{"Text", " "}}, "pattern.Regex' is missing"},
      {regex, "x*", "it can match the empty text"},
      {regex, "(x", "split pattern: missing closing parenthesis at byte 2"},
      {regex, "(?<n>x)", "'(?<n>' is not supported"},
      {regex, "(*LIMIT_MATCH=1)x", "'(*' is not supported"},
      {regex, "\\p{Han}+", "'\\p{Han}+' is not supported"},
      {regex, "\\p{Zs}", "'\\p{Zs}' is not supported"},
      {regex, "(?i:x|(?:\\p{Lu}))", "'\\p{Lu} within (?i:' is not supported"},
      {regex, "\\s|[\U00010000-\U00020000]", "of recent Unicode versions' is not supp"},
      {regex, "\\h", "'\\h' is not supported"},
      {regex, "(a)\\1", "'\\1' is not supported"},
      {regex, "[a[b]]", "'[ within a class' is not supported"},
      {regex, "[a&&b]", "'&&' is not supported"},
      {regex, "^x", "'^' is not supported"},
      {regex, "a{2}?", "'{2}?' is not supported"},
      {regex, "a{,2}", "'{,2}' is not supported"},
      {regex, "(?i:ss)", "'(?i: with ss' is not supported"},
      {regex, "[a", "'the end' is not supported"},
      {regex, std::string(5000, 'x'), "5000 bytes"},
      {regex, std::string(2000, '('), "parentheses are too deeply nested"},
      {"/model/dropout", 0.1, "model.dropout '0.1' is not supported"},
      {"/model/byte_fallback", true, "model.byte_fallback 'true' is not supported"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix"},
      {"/model/ignore_merges", 1, "'model.ignore_merges' is not true or false"},
      {"/model/merges", 3, "'model.merges' is not a list"},
      {"/model/merges/0", "bc", "'model.merges[0]' is not a pair of tokens"},
      {"/model/merges/0", "b c d", "'model.merges[0]' is not a pair of tokens"},
      {"/model/merges/0", json::array({"b", "c", "d"}),
       "'model.merges[0]' is not a pair of tokens"},
      {"/model/merges/0", json::array({"b", 3}), "'model.merges[0]' is not a pair of tokens"},
      {"/model/merges/1", json::array({"b", "zz"}),
       "'model.merges[1]': 'zz' is not in 'model.vocab'"},
      {"/model/merges/1", json::array({"a", "c"}),
       "'model.merges[1]': 'ac' is not in 'model.vocab'"},
      {"/model/merges/1", json::array({"<x>", "c"}),
       "'model.merges[1]': '<x>' is not in 'model.vocab'"},
      {"/model/vocab/bc", 259, "tokens 'bc' and '<x>' share the id 259"},
      {"/model/vocab/bc", 257, "share the id 257"},
      {"/model/vocab/bc", 300, "the id 300 of token 'bc' leaves gaps"},
      {"/model/vocab/bc", -1, "the id of token 'bc' is not an integer in [0, 2^31)"},
      {"/added_tokens/1/id", 400,
       "the id 400 of added token '\u00e9!' is not the next free one, 260"},
      {"/added_tokens/0/id", 260, "the id 260 of added token '<x>' is not the next free one, 259"},
      {"/added_tokens/1/content", "bc", "token 'bc' has the ids 258 and 260"},
      {"/added_tokens/0/content", std::string(2000, 'x'), "has more than 1024 bytes"},
      {"/added_tokens/0/rstrip", true, "'added_tokens[0].rstrip' is not false"},
      {"/added_tokens/0/normalized", "no", "'added_tokens[0].normalized' is not true or false"},
  };
  for (const auto& row : table) {
    const std::string text = with(row.pointer, row.value);
    const std::string message =
        test::error_of<InputError>([&] { parse_tokenizer(text, "the file"); });
    EXPECT_NE(message.find(row.message), message.npos)
        << row.pointer << " = " << row.value << "\n  got: " << message;
    EXPECT_NE(message.find("the file"), message.npos) << message;
    EXPECT_EQ(message.find('\n'), message.npos) << message;
  }
  json lacking = json::parse(small_json());
  lacking["model"]["vocab"].erase("A");
  lacking["model"]["vocab"]["A_"] = 'A';
  EXPECT_NE(test::error_of<InputError>([&] {
              parse_tokenizer(lacking.dump(), "t");
            }).find("byte 65 has no token: 'model.vocab' lacks 'A'"),
            std::string::npos);
}

// <unk> 0, the bytes 1 to 256, blank 257, a 258, b 259, ab 260, " a" 261, é 262; the added <x> 263.
json small_character_json() {
  json vocab = {{"<unk>", 0}, {"\u2581", 257},  {"a", 258},     {"b", 259},
                {"ab", 260},  {"\u2581a", 261}, {"\u00e9", 262}};
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = byte + 1;
  const auto replace = [](const char* from, const char* to) {
    return json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  return {{"version", "1.0"},
          {"added_tokens", json::array({{{"id", 263},
                                         {"content", "<x>"},
                                         {"single_word", false},
                                         {"lstrip", false},
                                         {"rstrip", false},
                                         {"normalized", false},
                                         {"special", true}}})},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Metaspace"},
            {"replacement", "\u2581"},
            {"prepend_scheme", "first"},
            {"split", false}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {replace("\u2581", " "),
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocab},
            {"merges", {"a b", "\u2581 a"}}}}};
}

TEST(CharacterBpe, SmallOne) {
  json file = small_character_json();
  auto t = parse_tokenizer(file.dump(), "t");
  EXPECT_EQ(t->encode("ab"), (Ids{257, 260}));  // lowest rank first
  EXPECT_EQ(t->encode("a a"), (Ids{261, 261}));
  EXPECT_EQ(t->encode(" a<x>a"), (Ids{261, 263, 258}));  // a blank in front, and of the first part
  EXPECT_EQ(t->encode("\u00e9c\u4e2d"), (Ids{257, 262, 'c' + 1, 0xe5, 0xb9, 0xae}));
  EXPECT_EQ(t->decode({261, 260, 0xe5, 0xb9, 0xae, 261}), "aab\u4e2d a");
  EXPECT_EQ(t->decode({0xe5, 0xb9, 258, 0xae}), "\ufffd\ufffda\ufffd");
  file["pre_tokenizer"]["prepend_scheme"] = "always";
  t = parse_tokenizer(file.dump(), "t");
  EXPECT_EQ(t->encode(" a<x>a"), (Ids{261, 263, 261}));
  file["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_EQ(parse_tokenizer(file.dump(), "t")->encode("a<x> a"), (Ids{258, 263, 261}));
  const json replace = file["decoder"]["decoders"][0];
  file["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers",
       {{{"type", "Prepend"}, {"prepend", "\u2581"}},
        {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}};
  file["pre_tokenizer"] = nullptr;
  EXPECT_EQ(parse_tokenizer(file.dump(), "t")->encode(" a<x>a"), (Ids{257, 261, 263, 261}));
}

TEST(CharacterBpe, RefusesWhatItWouldGetWrong) {
  const struct {
    std::string pointer;
    json value;
    std::string message;
  } table[] = {
      {"/normalizer", {{"type", "NFC"}}, "normalizer 'NFC' is not supported"},
      {"/pre_tokenizer", nullptr, "normalizer 'null' is not supported"},
      {"/pre_tokenizer/split", true, "pre_tokenizer.split 'true' is not supported"},
      {"/pre_tokenizer/type", "Digits", "pre_tokenizer 'Digits' is not supported"},
      {"/pre_tokenizer/replacement", "_", "pre_tokenizer.replacement"},
      {"/pre_tokenizer/prepend_scheme", "last", "pre_tokenizer.prepend_scheme 'last'"},
      {"/decoder/decoders/0", {{"type", "Fuse"}}, "decoder '"},
      {"/model/ignore_merges", true, "model.ignore_merges 'true' is not supported"},
      {"/model/dropout", 0.1, "model.dropout '0.1' is not supported"},
      {"/model/merges/0", "a c", "'model.merges[0]': 'c' is not in 'model.vocab'"},
  };
  for (const auto& row : table) {
    json file = small_character_json();
    file[json::json_pointer(row.pointer)] = row.value;
    const std::string message =
        test::error_of<InputError>([&] { parse_tokenizer(file.dump(), "the file"); });
    EXPECT_NE(message.find(row.message), message.npos) << row.pointer << "\n  got: " << message;
    EXPECT_EQ(message.find('\n'), message.npos) << message;
  }
  json lacking = small_character_json();
  lacking["model"]["vocab"].erase("<0x41>");
  lacking["model"]["vocab"]["<0x41"] = 0x42;
  EXPECT_NE(test::error_of<InputError>([&] {
              parse_tokenizer(lacking.dump(), "t");
            }).find("byte 65 has no token: 'model.vocab' lacks '<0x41>'"),
            std::string::npos);
}

TEST(CharacterBpe, SurvivesMutations) {
  const int refused =
      test::refused_mutations(small_character_json().dump(), "ab <x> e\u0301! ab\xff 12", 2000, 13);
  EXPECT_GT(refused, 500);
  EXPECT_LT(refused, 2000);
}

// A pattern that takes exponential time.
TEST(ByteLevelBpe, GivesUpOnPatternsThatTakeTooLong) {
  const std::string regex = "/pre_tokenizer/pretokenizers/0/pattern/Regex";
  const auto exponential = parse_tokenizer(with(regex, "(?:(?:a+b?)+)+[^a]x"), "the file");
  EXPECT_EQ(
      test::error_of<InputError>([&] { exponential->encode(std::string(4000, 'a') + "y x"); }),
      "split pattern: match limit exceeded on this text (the file): use the tokenizer.json of "
      "a known model");
  EXPECT_EQ(exponential->encode("ab"), Ids{256});  // and works on
}

TEST(ByteLevelBpe, SurvivesMutations) {
  const int refused = test::refused_mutations(small_json(), "abc <x> e\u0301! ab\xff 12", 3000, 12);
  EXPECT_GT(refused, 1000);
  EXPECT_LT(refused, 3000);
}

}  // namespace
}  // namespace elastron::data

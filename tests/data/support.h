// What the tests of data/ share.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "data/tokenizer.h"
#include "tests/support/scratch.h"

namespace elastron::data::test {

using elastron::test::Scratch;

// The message of the `E` that `f` throws; "" when it throws nothing.
template <class E, class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "";
}

// `text` with one to four random changes: a byte replaced, removed or doubled, or a piece cut out.
inline std::string mutated(std::string text, RandomStream& random) {
  static constexpr std::string_view kLikely = "{}[]\",:\\'0-9e.tn \xff\xc3\0";
  for (uint32_t changes = 1 + random.next_below(4); changes > 0 && !text.empty(); --changes) {
    const size_t at = random.next_below(uint32_t(text.size()));
    switch (random.next_below(5)) {
      case 0: text[at] = char(random.next_below(256)); break;
      case 1: text[at] = kLikely[random.next_below(uint32_t(kLikely.size()))]; break;
      case 2: text.erase(at, 1); break;
      case 3: text.insert(at, 1, text[at]); break;
      default: text.erase(at, 1 + random.next_below(20)); break;
    }
  }
  return text;
}

// Ids: <unk> 0, <eos> 1, a 2, b 3, ... h 9.
inline constexpr int32_t kEos = 1;
inline std::string letters_json(const std::string& split = "WhitespaceSplit") {
  std::string vocabulary = R"("<unk>": 0, "<eos>": 1)";
  for (int i = 0; i < 8; ++i) {
    vocabulary += std::string(", \"") + char('a' + i) + "\": " + std::to_string(i + 2);
  }
  return R"({"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 1, "content": "<eos>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": ")" +
         split + R"("}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {)" +
         vocabulary + R"(}, "unk_token": "<unk>"}})";
}
inline std::unique_ptr<Tokenizer> letters() {
  return parse_tokenizer(letters_json(), "tokenizer.json");
}

using Ids = std::vector<int32_t>;

// Whatever the file holds: a tokenizer that can be used on `text`, or an InputError of one line.
// -> how many of `times` were refused.
inline int refused_mutations(const std::string& whole, const std::string& text, int times,
                             uint64_t seed) {
  RandomStream random(seed, RandomPurpose::test);
  int refused = 0;
  for (int i = 0; i < times; ++i) {
    const std::string file = mutated(whole, random);
    try {
      const auto t = parse_tokenizer(file, "t");
      for (const int32_t id : t->encode(text)) EXPECT_TRUE(id >= 0 && id < t->vocab_size());
    } catch (const InputError& error) {
      ++refused;
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
    }
  }
  return refused;
}

}  // namespace elastron::data::test

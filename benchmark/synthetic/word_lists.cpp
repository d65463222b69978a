// Lists of words, in which those that come most often are asked for.
#include <fmt/format.h>

#include "benchmark/synthetic/draft.h"
#include "benchmark/synthetic/lexicon.h"

namespace elastron::benchmark {

namespace {

// Different words for different numbers below kMadeUpWords, and other ones for each row.
class RowWords {
 public:
  explicit RowWords(const Draws& draws)
      : first_(draws.stream(Draws::For::needles).bits_at(0) % kMadeUpWords) {}
  std::string operator()(uint64_t number) const {
    constexpr uint64_t kStride = 100003;  // prime
    return made_up_word(uint32_t((first_ + number * kStride) % kMadeUpWords));
  }

 private:
  uint64_t first_;
};

void shuffle(std::vector<std::string>& words, RandomStream draws) {
  for (size_t left = words.size(); left > 1; --left) {
    std::swap(words[left - 1], words[draws.next_below(uint32_t(left))]);
  }
}

std::vector<std::string> first_words(const RowWords& words, uint64_t count) {
  std::vector<std::string> first;
  for (uint64_t i = 0; i < count; ++i) first.push_back(words(i));
  return first;
}

}  // namespace

Draft common_words_draft(const Draws& draws, bool scarce) {
  constexpr uint64_t kCommon = 10;
  const uint64_t common_times = scarce ? 10 : 30, other_times = scarce ? 1 : 3;
  const RowWords words(draws);
  Draft draft;
  draft.outputs = first_words(words, kCommon);
  draft.input = [=](int64_t units) {
    std::vector<std::string> list;
    for (uint64_t w = 0; w < kCommon + uint64_t(units); ++w) {
      list.insert(list.end(), w < kCommon ? common_times : other_times, words(w));
    }
    shuffle(list, draws.stream(Draws::For::order));
    std::string text;
    for (size_t i = 0; i < list.size(); ++i) {
      text += fmt::format("{}{}. {}", i > 0 ? " " : "", i + 1, list[i]);
    }
    return fmt::format(
        "Below is a numbered list of made-up words, in which some come far more often than the "
        "others.\n\n{}\n\nQuestion: which {} words come most often in the list?",
        text, kCommon);
  };
  draft.answer_prefix = fmt::format(" The {} words that come most often are", kCommon);
  return draft;
}

Draft frequent_words_draft(const Draws& draws) {
  constexpr uint64_t kAsked = 3;
  constexpr double kSumOfInverseSquares = 1.6449340668482264;  // pi^2 / 6
  const RowWords words(draws);
  Draft draft;
  draft.outputs = first_words(words, kAsked);
  draft.fewest_units = 60;  // from here on the third word comes more often than the fourth
  draft.input = [=](int64_t units) {
    // Word k comes in proportion to 1 / k^2, and once where that is less.
    std::vector<std::string> list;
    for (uint64_t k = 1; list.size() < size_t(units); ++k) {
      const auto times = uint64_t(double(units) / (kSumOfInverseSquares * double(k) * double(k)));
      list.insert(list.end(), std::max<uint64_t>(times, 1), words(k - 1));
    }
    shuffle(list, draws.stream(Draws::For::order));
    std::string text;
    for (const std::string& word : list) text += (text.empty() ? "" : " ") + word;
    return fmt::format(
        "The text below is in a language that nobody speaks. Count its words.\n\n{}\n\nQuestion: "
        "which {} words come most often in the text?",
        text, kAsked);
  };
  draft.answer_prefix = fmt::format(" The {} words that come most often are", kAsked);
  return draft;
}

}  // namespace elastron::benchmark

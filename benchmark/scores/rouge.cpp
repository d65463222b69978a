#include "benchmark/scores/rouge.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "benchmark/scores/python_text.h"
#include "data/space.h"

namespace elastron::benchmark {

namespace {

using Words = std::vector<uint32_t>;  // numbers in a Vocabulary
using Vocabulary = std::unordered_map<std::string_view, uint32_t>;

// Calls within each other that CPython 3.11 allows the walk when LongBench's eval.py asks for a
// score: its limit of 1000 less the nine frames that are there already.
constexpr size_t kDeepestWalk = 991;

// Sentences as words; one of nothing but white space has one word, the empty one.
std::vector<Words> sentences(std::string_view text, Vocabulary& vocabulary) {
  std::vector<Words> found;
  const auto number = [&](std::string_view word) {
    return vocabulary.try_emplace(word, uint32_t(vocabulary.size())).first->second;
  };
  for (const std::string_view sentence : split_at(text, '.')) {
    if (sentence.empty()) continue;
    Words& words = found.emplace_back();
    for (const std::string_view word : data::split_at_space(sentence)) {
      words.push_back(number(word));
    }
    if (words.empty()) words.push_back(number(""));
  }
  return found;
}

// Different words of all sentences.
size_t different_words(const std::vector<Words>& all, size_t vocabulary) {
  std::vector<bool> seen(vocabulary);
  size_t count = 0;
  for (const Words& words : all) {
    for (const uint32_t word : words) {
      count += !seen[word];
      seen[word] = true;
    }
  }
  return count;
}

// Lengths of the longest common subsequences of all beginnings, [reference + 1, prediction + 1].
std::vector<uint32_t> common_lengths(const Words& reference, const Words& prediction) {
  const size_t row = prediction.size() + 1;
  std::vector<uint32_t> lengths((reference.size() + 1) * row);
  for (size_t i = 1; i <= reference.size(); ++i) {
    for (size_t j = 1; j < row; ++j) {
      const uint32_t* above = &lengths[(i - 1) * row + j];
      lengths[i * row + j] = reference[i - 1] == prediction[j - 1]
                                 ? above[-1] + 1
                                 : std::max(above[0], lengths[i * row + j - 1]);
    }
  }
  return lengths;
}

// Marks the words of one longest common subsequence: of several, the one that goes back in the
// prediction first. False: the walk is too deep for Python.
bool mark_common(const Words& reference, const Words& prediction, std::vector<bool>& marked) {
  size_t i = reference.size(), j = prediction.size();
  if (std::min(i, j) >= kDeepestWalk) return false;  // whichever way it goes
  const size_t row = j + 1;
  const std::vector<uint32_t> lengths = common_lengths(reference, prediction);
  for (size_t calls = 1; i > 0 && j > 0; ++calls) {
    if (calls == kDeepestWalk) return false;
    if (reference[i - 1] == prediction[j - 1]) {
      marked[reference[i - 1]] = true;
      --i;
      --j;
    } else if (lengths[(i - 1) * row + j] > lengths[i * row + j - 1]) {
      --i;
    } else {
      --j;
    }
  }
  return true;
}

}  // namespace

double rouge_l(std::string_view prediction, std::string_view reference) {
  Vocabulary vocabulary;
  const auto predicted = sentences(prediction, vocabulary);
  const auto expected = sentences(reference, vocabulary);
  if (predicted.empty() || expected.empty()) return 0.0;

  std::vector<bool> common(vocabulary.size());
  for (const Words& words : expected) {
    for (const Words& others : predicted) {
      if (!mark_common(words, others, common)) return 0.0;
    }
  }
  const auto shared = double(std::ranges::count(common, true));
  const double recall = shared / double(different_words(expected, vocabulary.size()));
  const double precision = shared / double(different_words(predicted, vocabulary.size()));
  return 2.0 * ((precision * recall) / (precision + recall + 1e-8));
}

}  // namespace elastron::benchmark

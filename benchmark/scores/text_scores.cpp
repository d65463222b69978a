#include "benchmark/scores/text_scores.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <unordered_map>

#include "benchmark/scores/python_text.h"
#include "data/space.h"

namespace elastron::benchmark {

namespace {

constexpr std::string_view kPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

std::string normal_form(std::string_view text) {
  std::string small = lower(text);
  std::erase_if(small, [](char c) { return kPunctuation.find(c) != kPunctuation.npos; });
  return without_words(small, {"a", "an", "the"});
}

// The length of the longest common subsequence; memory is that of one text.
size_t common_length(std::u32string_view a, std::u32string_view b) {
  std::vector<uint32_t> lengths(b.size() + 1);  // of the beginning of `a`, by the beginning of `b`
  for (const char32_t character : a) {
    uint32_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const uint32_t above = lengths[j];
      lengths[j] = character == b[j - 1] ? diagonal + 1 : std::max(above, lengths[j - 1]);
      diagonal = above;
    }
  }
  return lengths.back();
}

bool is_code(std::string_view line) {
  return line.find_first_of("`#") == line.npos && line.find("//") == line.npos;
}

}  // namespace

double word_f1(std::string_view prediction, std::string_view answer) {
  const std::string predicted_text = normal_form(prediction), answer_text = normal_form(answer);
  const auto predicted = data::split_at_space(predicted_text);
  const auto expected = data::split_at_space(answer_text);
  std::unordered_map<std::string_view, int64_t> left;
  for (const std::string_view word : expected) ++left[word];
  int64_t shared = 0;
  for (const std::string_view word : predicted) {
    const auto it = left.find(word);
    if (it != left.end() && it->second-- > 0) ++shared;
  }
  if (shared == 0) return 0.0;
  const double precision = double(shared) / double(predicted.size());
  const double recall = double(shared) / double(expected.size());
  return (2 * precision * recall) / (precision + recall);
}

double class_score(std::string_view prediction, std::string_view answer,
                   const std::vector<std::string>& classes) {
  std::vector<std::string_view> found;
  for (const std::string& name : classes) {
    if (prediction.find(name) != prediction.npos) found.emplace_back(name);
  }
  for (size_t i = 0; i < found.size(); ++i) {
    const std::string_view name = found[i];
    if (name == answer || answer.find(name) == answer.npos) continue;
    found.erase(std::ranges::find(found, name));
  }
  return std::ranges::find(found, answer) != found.end() ? 1.0 / double(found.size()) : 0.0;
}

double share_of_numbers(std::string_view prediction, std::string_view number) {
  const auto numbers = digit_runs(prediction);
  if (numbers.empty()) return 0.0;
  return double(std::ranges::count(numbers, number)) / double(numbers.size());
}

std::optional<std::string_view> answered_number(std::string_view answer, std::string_view before) {
  const std::string_view digits = digits_after(before, answer);
  return digits.empty() ? std::optional<std::string_view>() : digits;
}

double indel_similarity(std::u32string_view a, std::u32string_view b) {
  const size_t total = a.size() + b.size();
  if (total == 0) return 1.0;
  const size_t distance = total - 2 * common_length(a, b);
  return 1.0 - double(distance) / double(total);
}

double code_similarity(std::string_view prediction, std::string_view answer) {
  std::string_view line;
  for (const std::string_view each : split_at(without_leading_newlines(prediction), '\n')) {
    if (!is_code(each)) continue;
    line = each;
    break;
  }
  // Equality is asked before emptiness.
  if (line == answer) return 1.0;
  if (line.empty() || answer.empty()) return 0.0;
  // The default rounding of nearbyint is to even, as Python's round has it.
  return std::nearbyint(100 * indel_similarity(code_points(line), code_points(answer))) / 100;
}

}  // namespace elastron::benchmark

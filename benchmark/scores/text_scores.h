// Scores of one prediction against one right answer, in [0, 1]. Each is what the published program
// of LongBench computes (docs/benchmarks.md, Metrics), quirks included. Text is UTF-8.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::benchmark {

// Small letters, without ASCII punctuation and English articles; words by white space; F1 of the
// two multisets of words, 0 where nothing is shared.
double word_f1(std::string_view prediction, std::string_view answer);

// 1 / the number of class names found in the prediction, where the answer is among them, else 0.
// Names that are a proper part of the answer are taken out while the list is walked, so that the
// one behind each is passed over, and of equal names the first is taken out.
double class_score(std::string_view prediction, std::string_view answer,
                   const std::vector<std::string>& classes);

// The share of the prediction's numbers that are equal, digit by digit, to `number`; 0 without any.
double share_of_numbers(std::string_view prediction, std::string_view number);

// The number that a retrieval answer names: the digits behind `before` ("Paragraph "). Nothing: the
// published program fails.
std::optional<std::string_view> answered_number(std::string_view answer, std::string_view before);

// The first line of the prediction without a backtick, '#' or "//" (none: an empty one), compared
// with the answer: whole percents of the indel similarity of the characters, halves to even, as
// `fuzz.ratio` with python-Levenshtein gives them; 0 where only one of the two is empty.
double code_similarity(std::string_view prediction, std::string_view answer);

// 1 - distance / (sum of the lengths), with characters inserted and deleted only; 1 for two empty
// texts. rapidfuzz.distance.Indel.normalized_similarity.
double indel_similarity(std::u32string_view a, std::u32string_view b);

}  // namespace elastron::benchmark

// ROUGE-L as the Python package `rouge` 1.0.1 defines it, which is not Lin's (2004) definition in
// several ways that published tables contain (docs/benchmarks.md, ROUGE-L).
#pragma once
#include <string_view>

namespace elastron::benchmark {

// The F value of "rouge-l" between a prediction and a reference, both UTF-8: sentences end at full
// stops, words are counted once each over the whole text, a longest common subsequence is taken per
// pair of sentences. 0 where the package raises an exception: a text without anything but full
// stops, or a pair of sentences whose common subsequence is longer to walk than Python's recursion
// allows.
double rouge_l(std::string_view prediction, std::string_view reference);

}  // namespace elastron::benchmark

// The sets of LongBench (Bai et al., ACL 2024) and how each is asked and scored.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::benchmark {

enum class LongBenchMetric : uint8_t {
  f1,
  rouge_l,
  classes,
  retrieval,
  count,
  code,
  chinese_words
};

struct LongBenchSet {
  std::string_view name;  // of the files, without "_e"
  LongBenchMetric metric = LongBenchMetric::f1;
  // The paper's group of tasks. Empty for the sets in Chinese, which published tables have apart.
  std::string_view group;
  bool extended = false;  // LongBench-E has it too
  // Asked without the model's chat template, as few-shot prompts and code are.
  bool bare_prompt = false;
  // Only the first line of a prediction counts, past newlines at its beginning.
  bool first_line = false;
  std::string_view before_number = {};  // of a retrieval's answer
};

std::span<const LongBenchSet> longbench_sets();
// In the order of the paper's table.
std::span<const std::string_view> longbench_groups();
// InputError naming `where` for a name that is none, and for sets whose words are found by jieba
// (multifieldqa_zh, dureader, vcsum), which is not offered.
const LongBenchSet& longbench_set(std::string_view name, const std::string& where);

// A row's score in [0, 1]: the highest over its answers. Throws InputError naming `where` for an
// answer without the number that a retrieval needs, and where classes are needed and there are
// none.
double longbench_score(const LongBenchSet& set, std::string_view prediction,
                       const std::vector<std::string>& answers,
                       const std::vector<std::string>& classes, const std::string& where);

}  // namespace elastron::benchmark

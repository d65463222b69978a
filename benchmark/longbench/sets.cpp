#include "benchmark/longbench/sets.h"

#include <algorithm>

#include "benchmark/scores/python_text.h"
#include "benchmark/scores/rouge.h"
#include "benchmark/scores/text_scores.h"
#include "core/error.h"

namespace elastron::benchmark {

namespace {

using enum LongBenchMetric;

constexpr std::string_view kGroups[] = {"S-Doc QA",   "M-Doc QA",  "Summarization",
                                        "In-Context", "Synthetic", "Code"};

constexpr LongBenchSet kSets[] = {
    {.name = "narrativeqa", .metric = f1, .group = kGroups[0]},
    {.name = "qasper", .metric = f1, .group = kGroups[0], .extended = true},
    {.name = "multifieldqa_en", .metric = f1, .group = kGroups[0], .extended = true},
    {.name = "multifieldqa_zh", .metric = chinese_words},
    {.name = "hotpotqa", .metric = f1, .group = kGroups[1], .extended = true},
    {.name = "2wikimqa", .metric = f1, .group = kGroups[1], .extended = true},
    {.name = "musique", .metric = f1, .group = kGroups[1]},
    {.name = "dureader", .metric = chinese_words},
    {.name = "gov_report", .metric = rouge_l, .group = kGroups[2], .extended = true},
    {.name = "qmsum", .metric = rouge_l, .group = kGroups[2]},
    {.name = "multi_news", .metric = rouge_l, .group = kGroups[2], .extended = true},
    {.name = "vcsum", .metric = chinese_words},
    {.name = "trec",
     .metric = classes,
     .group = kGroups[3],
     .extended = true,
     .bare_prompt = true,
     .first_line = true},
    {.name = "triviaqa",
     .metric = f1,
     .group = kGroups[3],
     .extended = true,
     .bare_prompt = true,
     .first_line = true},
    {.name = "samsum",
     .metric = rouge_l,
     .group = kGroups[3],
     .extended = true,
     .bare_prompt = true,
     .first_line = true},
    {.name = "lsht", .metric = classes, .bare_prompt = true, .first_line = true},
    {.name = "passage_count", .metric = count, .group = kGroups[4], .extended = true},
    {.name = "passage_retrieval_en",
     .metric = retrieval,
     .group = kGroups[4],
     .extended = true,
     .before_number = "Paragraph "},
    {.name = "passage_retrieval_zh",
     .metric = retrieval,
     .before_number = "\xe6\xae\xb5\xe8\x90\xbd"},
    {.name = "lcc", .metric = code, .group = kGroups[5], .extended = true, .bare_prompt = true},
    {.name = "repobench-p",
     .metric = code,
     .group = kGroups[5],
     .extended = true,
     .bare_prompt = true},
};

double answer_score(const LongBenchSet& set, std::string_view prediction, std::string_view answer,
                    const std::vector<std::string>& classes, const std::string& where) {
  switch (set.metric) {
    case f1: return word_f1(prediction, answer);
    case rouge_l: return benchmark::rouge_l(prediction, answer);
    case code: return code_similarity(prediction, answer);
    case count: return share_of_numbers(prediction, answer);
    case LongBenchMetric::classes:
      if (classes.empty()) {
        throw InputError(
            "field 'all_classes' has no classes, which " + std::string(set.name) + " is scored by",
            where, "give the benchmark's own list");
      }
      return class_score(prediction, answer, classes);
    case retrieval: {
      const auto number = answered_number(answer, set.before_number);
      if (!number) {
        throw InputError("field 'answers' has an answer without '" +
                             std::string(set.before_number) + "' and a number",
                         where, "give the benchmark's own answers");
      }
      return share_of_numbers(prediction, *number);
    }
    case chinese_words: break;
  }
  throw LogicError("a set without a score: " + std::string(set.name));
}

}  // namespace

std::span<const LongBenchSet> longbench_sets() { return kSets; }

std::span<const std::string_view> longbench_groups() { return kGroups; }

const LongBenchSet& longbench_set(std::string_view name, const std::string& where) {
  const auto* const set = std::ranges::find(kSets, name, &LongBenchSet::name);
  if (set == std::end(kSets)) {
    throw InputError("'" + std::string(name) + "' is no set of LongBench", where,
                     "name files as the benchmark does, <set>.jsonl");
  }
  if (set->metric == chinese_words) {
    throw InputError(
        std::string(name) +
            " is scored by the words that jieba finds in Chinese, "
            "which is not offered",
        where, "name the other sets with --task, and score this one with LongBench's own program");
  }
  return *set;
}

double longbench_score(const LongBenchSet& set, std::string_view prediction,
                       const std::vector<std::string>& answers,
                       const std::vector<std::string>& classes, const std::string& where) {
  if (set.first_line) prediction = first_line(without_leading_newlines(prediction));
  double best = 0.0;
  for (const std::string& answer : answers) {
    best = std::max(best, answer_score(set, prediction, answer, classes, where));
  }
  return best;
}

}  // namespace elastron::benchmark

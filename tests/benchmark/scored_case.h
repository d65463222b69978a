// A question to the scores as tests/oracle/benchmark_cases.py writes it, and what we say.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "benchmark/scores/means.h"
#include "benchmark/scores/python_text.h"
#include "benchmark/scores/rouge.h"
#include "benchmark/scores/text_scores.h"
#include "data/space.h"

namespace elastron::test {

// `asked`: {"metric", "pred", "answer", "classes"}, or {"metric", "values"}. Numbers, or texts
// where the metric is a rule of Python's strings.
inline nlohmann::json said(const nlohmann::json& asked) {
  using namespace benchmark;  // NOLINT(google-build-using-namespace)
  const std::string metric = asked.at("metric");
  if (metric == "numpy_mean" || metric == "python_mean") {
    const std::vector<double> values = asked.at("values");
    if (metric == "numpy_mean") return round_as_numpy(100 * mean_as_numpy(values));
    return round_as_python(100 * sum_in_order(values) / double(values.size()), 2);
  }
  const std::string pred = asked.at("pred"), answer = asked.at("answer");
  if (metric == "lower") return lower(pred);
  if (metric == "split") return data::split_at_space(pred);
  if (metric == "digits") return digit_runs(pred);
  if (metric == "articles") return without_words(pred, {"a", "an", "the"});
  if (metric == "f1") return word_f1(pred, answer);
  if (metric == "rouge") return rouge_l(pred, answer);
  if (metric == "class") return class_score(pred, answer, asked.at("classes"));
  if (metric == "count") return share_of_numbers(pred, answer);
  if (metric == "code") return code_similarity(pred, answer);
  if (metric == "indel") return indel_similarity(code_points(pred), code_points(answer));
  if (metric == "retrieval" || metric == "retrieval_zh") {
    const auto number =
        answered_number(answer, metric == "retrieval" ? "Paragraph " : "\xe6\xae\xb5\xe8\x90\xbd");
    return number ? nlohmann::json(share_of_numbers(pred, *number)) : nlohmann::json(nullptr);
  }
  throw std::invalid_argument("no metric " + metric);
}

}  // namespace elastron::test

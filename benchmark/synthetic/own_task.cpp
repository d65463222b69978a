#include "benchmark/synthetic/own_task.h"

#include <algorithm>
#include <cmath>

#include "benchmark/synthetic/draft.h"
#include "core/error.h"

namespace elastron::benchmark {

namespace {

constexpr int64_t kScarceLength = 4096;  // tokens, below which words are repeated less often
constexpr int64_t kNearEnough = 128;     // the part of the length that may stay free

Draft draft_of(std::string_view kind, const Draws& draws, double depth, int64_t length) {
  if (kind == "vt") return variables_draft(draws, depth);
  if (kind == "cwe") return common_words_draft(draws, length < kScarceLength);
  if (kind == "fwe") return frequent_words_draft(draws);
  if (kind == "qa_1" || kind == "qa_2") return question_draft(kind == "qa_2", draws, depth);
  return needle_draft(kind, draws, depth);
}

bool has_depth(std::string_view kind) { return kind != "cwe" && kind != "fwe"; }

struct Fit {
  std::string input;
  int64_t units = 0, tokens = 0;
};

// The most text whose tokens, prefix and all, are within the limit, or nearly so.
Fit fitted(const Draft& draft, int64_t limit, const data::Tokenizer& tokenizer,
           const std::string& where) {
  const auto measured = [&](int64_t units) {
    Fit fit{draft.input(units), units, 0};
    fit.tokens = int64_t(tokenizer.encode(fit.input + draft.answer_prefix).size());
    return fit;
  };
  Fit best = measured(draft.fewest_units);
  if (best.tokens > limit) {
    throw UsageError(
        "the shortest text of " + where + " and its answer do not fit", "--length",
        "give at least " + std::to_string(best.tokens) + " tokens more than the answer's");
  }
  int64_t too_many = 0, too_many_tokens = 0;  // 0: not known yet
  while (limit - best.tokens > limit / kNearEnough && too_many != best.units + 1) {
    // Along a line through what is known, at most to four times the text while there is no bound.
    int64_t units = best.units * 4 + 1;
    if (too_many > 0) {
      const double slope = double(too_many - best.units) /
                           double(std::max<int64_t>(too_many_tokens - best.tokens, 1));
      units = best.units + int64_t(slope * double(limit - best.tokens));
      units = std::clamp(units, best.units + 1, too_many - 1);
    }
    Fit fit = measured(units);
    if (fit.tokens <= limit) {
      best = std::move(fit);
    } else {
      too_many = units;
      too_many_tokens = fit.tokens;
    }
  }
  return best;
}

}  // namespace

RulerRow own_ruler_row(const RulerTask& task, int64_t index, const OwnTaskOptions& options,
                       const data::Tokenizer& tokenizer) {
  const std::string name = std::string(kOwnTask) + std::string(task.name);
  const Draws draws(options.seed, name, index);
  const double drawn = draws.stream(Draws::For::depths).uniform_at(1000);
  const double depth = options.depth_percent ? double(*options.depth_percent) / 100 : drawn;
  const Draft draft = draft_of(task.name, draws, depth, options.length);
  const Fit fit = fitted(draft, options.length - task.new_tokens, tokenizer, name);
  RulerRow row{.index = index,
               .input = fit.input,
               .answer_prefix = draft.answer_prefix,
               .outputs = draft.outputs,
               .length = fit.tokens + task.new_tokens};
  row.others = {{"id", index}, {"task", name}, {"generator", "elastron synthesize --ruler"}};
  if (has_depth(task.name)) row.others["depth_percent"] = std::round(1000 * depth) / 10;
  return row;
}

}  // namespace elastron::benchmark

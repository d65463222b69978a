#include "benchmark/perplexity/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "benchmark/running/shared_rows.h"
#include "benchmark/scores/means.h"
#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/json_fields.h"
#include "core/progress.h"
#include "inference/prompt_summary.h"
#include "ops/elementwise.h"
#include "parallel/agree.h"

namespace elastron::benchmark {

using Json = nlohmann::ordered_json;

namespace {

// Rows of logits that exist at a time.
constexpr int64_t kRowsAtOnce = 64;

const char* const kAnother = "use another --out, or remove the folder";

// -ln p of each of `ids`, by the logits before it, [rows, vocab].
double sum_of_nll(std::span<const float> logits, std::span<const int32_t> ids) {
  const size_t vocab = logits.size() / ids.size();
  double sum = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto row = logits.subspan(i * vocab, vocab);
    const double largest = *std::ranges::max_element(row);
    double all = 0;
    for (const float x : row) all += std::exp(double(x) - largest);
    sum += largest + std::log(all) - double(row[size_t(ids[i])]);
  }
  return sum;
}

double finite(double nll) {
  if (std::isfinite(nll)) return nll;
  throw NumericalError("a logit is not a number", "perplexity",
                       "check the model's weights, or compute in float32");
}

ScoredText scored_text(const PredictionFile::Row& row) {
  const JsonFields fields(row.value, row.where, kAnother);
  return {.text = fields.integer("text"),
          .tokens = fields.integer("tokens"),
          .nll = fields.number("nll"),
          .msr = fields.number("msr"),
          .esr = fields.number("esr")};
}

}  // namespace

PerplexityRun::PerplexityRun(parallel::Communicator& everyone,
                             const std::vector<TokenisedText>& texts,
                             const std::vector<int64_t>& lengths, int64_t window,
                             const std::string& out, const std::string& name,
                             const RowsIdentity& identity)
    : everyone_(everyone), texts_(texts), window_(window), path_(out + "/" + name + ".jsonl") {
  parallel::on_all_ranks(everyone, [&] {
    for (const int64_t tokens : lengths) {
      const size_t before = rows_.size();
      for (size_t t = 0; t < texts.size(); ++t) {
        if (int64_t(texts[t].ids.size()) >= tokens) rows_.push_back({int64_t(t), tokens});
      }
      if (rows_.size() > before) continue;
      throw InputError(fmt::format("no text has {} tokens", tokens), "--length",
                       "give longer texts, or shorter lengths");
    }
  });
  std::string done = "0";
  parallel::on_all_ranks(everyone, [&] {
    if (everyone.rank() != 0) return;
    make_folder(out);
    claim_rows(out + "/" + name + ".meta.json", path_, identity, kAnother);
    const PredictionFile file(path_);
    for (const PredictionFile::Row& row : file.rows()) {
      const ScoredText there = scored_text(row);
      const auto at = size_t(&row - file.rows().data());
      if (at < rows_.size() && there.text == rows_[at].text && there.tokens == rows_[at].tokens) {
        continue;
      }
      throw InputError("a row of another text", row.where, kAnother);
    }
    done = std::to_string(file.count());
  });
  first_left_ = std::stoll(everyone.broadcast_host(done, 0));
}

ScoredText PerplexityRun::score(inference::Engine& engine, const Row& row) const {
  const auto ids = std::span(texts_[size_t(row.text)].ids).first(size_t(row.tokens));
  model::RoutedHeads heads;
  const inference::HiddenRows hidden = engine.forward(ids, &heads);
  const inference::PromptSummary summary =
      inference::summary_of(inference::figures_of(engine, heads, row.tokens), engine.mesh());
  const int64_t scored = std::min(window_, row.tokens - 1);
  // Ranks of a context group take blocks of rows in turns; the sums are added up in order.
  parallel::Communicator& ranks = engine.mesh().context();
  std::vector<double> sums;
  for (int64_t begin = row.tokens - scored; begin < row.tokens; begin += kRowsAtOnce) {
    const int64_t end = std::min(begin + kRowsAtOnce, row.tokens);
    const Tensor before = hidden.rows(begin - 1, end - 1);
    const bool own = int64_t(sums.size()) % ranks.size() == ranks.rank();
    sums.push_back(own ? sum_of_nll(ops::cast(engine.logits(before), DType::f32).to_vector<float>(),
                                    ids.subspan(size_t(begin), size_t(end - begin)))
                       : 0);
  }
  ranks.all_reduce_host(std::span<double>(sums), parallel::ReduceOp::sum);
  const double nll = std::accumulate(sums.begin(), sums.end(), 0.0);
  return {.text = row.text,
          .tokens = row.tokens,
          .nll = finite(nll) / double(scored),
          .msr = summary.msr,
          .esr = summary.esr_tiles};
}

void PerplexityRun::append(PredictionFile& file, const ScoredText& scored) const {
  file.append({{"text", scored.text},
               {"name", texts_[size_t(scored.text)].name},
               {"tokens", scored.tokens},
               {"scored", std::min(window_, scored.tokens - 1)},
               {"nll", scored.nll},
               {"msr", scored.msr},
               {"esr", scored.esr}});
}

bool PerplexityRun::run(inference::Engine& engine, const LongRun& around) {
  std::unique_ptr<PredictionFile> file;
  parallel::on_all_ranks(everyone_, [&] {
    if (everyone_.rank() == 0) file = std::make_unique<PredictionFile>(path_);
  });
  const int64_t left = int64_t(rows_.size()) - first_left_;
  int64_t next = engine.mesh().data().rank();
  Progress progress(everyone_.rank() == 0);
  const SharedRows work{
      .rows = left,
      .between_exchanges = 1,
      .step =
          [&] {
            const ScoredText s = score(engine, rows_[size_t(first_left_ + next)]);
            const nlohmann::json numbers = {s.text, s.tokens, s.nll, s.msr, s.esr};
            const FinishedRow finished{next, numbers.dump()};
            next += engine.mesh().data().size();
            return std::vector<FinishedRow>{finished};
          },
      .keep =
          [&](const FinishedRow& row) {
            const auto numbers = nlohmann::json::parse(row.result);
            append(*file, {numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]});
            progress.show("scoring", uint64_t(row.place) + 1, uint64_t(left));
          }};
  return work_on(work, engine.mesh(), around);
}

std::vector<ScoredText> PerplexityRun::scores() const {
  std::vector<ScoredText> all;
  const PredictionFile file(path_);
  for (const PredictionFile::Row& row : file.rows()) all.push_back(scored_text(row));
  return all;
}

Json perplexity_json(std::span<const ScoredText> scores) {
  ELASTRON_CHECK(!scores.empty(), "texts to take a mean of");
  std::vector<double> nll;
  double all = 0, perplexities = 0, msr = 0, esr = 0;
  for (const ScoredText& s : scores) {
    nll.push_back(s.nll);
    all += s.nll;
    perplexities += std::exp(s.nll);
    msr += s.msr;
    esr += s.esr;
  }
  const auto n = double(scores.size());
  const auto interval = interval_of(resampled_means(nll, "perplexity"), 1, 12);
  return {{"documents", scores.size()},
          {"perplexity", std::exp(all / n)},
          {"interval_95", {std::exp(interval->low), std::exp(interval->high)}},
          {"mean_of_documents", perplexities / n},
          {"msr", msr / n},
          {"esr", esr / n}};
}

}  // namespace elastron::benchmark

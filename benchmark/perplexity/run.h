// Perplexity of the ends of long documents: each is cut to N tokens, gates are decided on all of
// them, and the last ones are scored.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "benchmark/perplexity/texts.h"
#include "benchmark/prediction_file.h"
#include "core/file/rows_identity.h"
#include "core/long_run.h"
#include "inference/engine.h"

namespace elastron::benchmark {

// A document at a length.
struct ScoredText {
  int64_t text = 0, tokens = 0;
  double nll = 0;  // of the scored tokens, the mean of -ln p
  double msr = 0, esr = 0;
};

class PerplexityRun {
 public:
  // Collective over `everyone`, the world. `lengths` ascend; texts that are shorter than one are not
  // scored at it. `window`: how many of the last tokens are scored. <out>/<name>.jsonl has a line per
  // length and document and is gone on with, where <out>/<name>.meta.json says it is of the same.
  PerplexityRun(parallel::Communicator& everyone, const std::vector<TokenisedText>& texts,
                const std::vector<int64_t>& lengths, int64_t window, const std::string& out,
                const std::string& name, const RowsIdentity& identity);

  bool done() const { return first_left_ == int64_t(rows_.size()); }
  // Collective. -> false where it was stopped on request before the end.
  bool run(inference::Engine& engine, const LongRun& around);
  // On the first rank, after the end.
  std::vector<ScoredText> scores() const;

 private:
  struct Row {
    int64_t text = 0, tokens = 0;
  };
  ScoredText score(inference::Engine& engine, const Row& row) const;
  void append(PredictionFile& file, const ScoredText& scored) const;

  parallel::Communicator& everyone_;
  const std::vector<TokenisedText>& texts_;
  int64_t window_, first_left_ = 0;
  std::string path_;
  std::vector<Row> rows_;
};

// Of one length. {"documents", "perplexity" (of all scored tokens), "interval_95",
// "mean_of_documents" (of their perplexities), "msr", "esr"}
nlohmann::ordered_json perplexity_json(std::span<const ScoredText> scores);

}  // namespace elastron::benchmark

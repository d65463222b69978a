// What answering a benchmark took, row by row: beside each file of predictions stands one of these.
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "benchmark/prediction_file.h"

namespace elastron::benchmark {

struct RowFigures {
  int64_t prompt_tokens = 0, new_tokens = 0;
  bool truncated = false;
  double msr = 0;  // share of kv heads that were sparse while the prompt was read
  double esr = 0;  // share of the tiles of full attention that were not visited by then
  double cache_bytes = 0, full_cache_bytes = 0;  // when the prompt was read; with all keys kept
  double prompt_seconds = 0;    // of the steps that read prompts, in which other texts went on
  int64_t decoded_tokens = 0;   // in steps that only decoded
  double decoding_seconds = 0;  // a text's part of these

  // Of a row's questions together. The gates are weighed by prompts, the caches' bytes are sums.
  void add(const RowFigures& question, int64_t questions_before);
};

nlohmann::ordered_json row_figures_json(const RowFigures& figures);
// InputError naming the row.
RowFigures row_figures(const PredictionFile::Row& row);

// Over rows.
struct TaskFigures {
  int64_t rows = 0, truncated = 0, prompt_tokens = 0, new_tokens = 0, decoded_tokens = 0;
  double msr = 0, esr = 0, cache_bytes = 0, full_cache_bytes = 0;
  double prompt_seconds = 0, decoding_seconds = 0;

  void add(const RowFigures& row);
};

// Of a task, and of the parts of it that rows count in beside the whole (Task::parts()).
struct TaskParts {
  TaskFigures all;
  std::map<std::string, TaskFigures> parts;
};

// {"truncated", "msr", "esr", "cache_kept", "prompt_tokens", "new_tokens" (means),
// "prompt_tokens_per_second", "decoded_tokens_per_second" (of a data rank)}, null where nothing is known.
nlohmann::ordered_json figures_json(const TaskFigures& figures);

}  // namespace elastron::benchmark

// Rows of LongBench's data and of its predictions, and its prompts, in the published files' forms
// (docs/benchmarks.md, LongBench).
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "benchmark/longbench/sets.h"
#include "benchmark/prediction_file.h"

namespace elastron::benchmark {

struct LongBenchRow {
  std::string input, context;
  std::vector<std::string> answers;
  std::vector<std::string> classes;
  bool has_classes = false;  // "all_classes" is no null
  int64_t length = 0;        // in the benchmark's own count of words or characters
};

// `data/<set>.jsonl` or `data/<set>_e.jsonl`. InputError naming file, line and field.
std::vector<LongBenchRow> read_longbench_data(const std::string& path);

struct LongBenchPrediction {
  std::string prediction;
  std::vector<std::string> answers, classes;
  std::optional<int64_t> length;
  std::string where;
};

// `<set>.jsonl` of a folder of predictions, whoever made them.
std::vector<LongBenchPrediction> read_longbench_predictions(const std::string& path);

// A row as the published program writes it.
nlohmann::ordered_json longbench_prediction(const LongBenchRow& row, const std::string& prediction);

// Rows of `data` that a file of predictions has already: its first ones, for its rows have no name.
// InputError where they are not those.
int64_t longbench_rows_done(const PredictionFile& file, const std::vector<LongBenchRow>& data);

// The folder `config` of LongBench: dataset2prompt.json and dataset2maxlen.json. Both throw
// InputError for a set that they lack.
class LongBenchPrompts {
 public:
  explicit LongBenchPrompts(const std::string& folder);
  std::string prompt(const LongBenchSet& set, const LongBenchRow& row) const;
  int64_t max_new_tokens(const LongBenchSet& set) const;

 private:
  std::string prompts_path_, lengths_path_;
  std::map<std::string, std::string, std::less<>> templates_;
  std::map<std::string, int64_t, std::less<>> lengths_;
};

}  // namespace elastron::benchmark

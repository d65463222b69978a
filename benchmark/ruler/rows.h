// Rows of RULER's prepared data and of its predictions (docs/benchmarks.md, RULER).
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "benchmark/prediction_file.h"

namespace elastron::benchmark {

struct RulerRow {
  int64_t index = 0;
  std::string input;
  std::string answer_prefix;  // what the answer goes on from; empty in data of older versions
  std::vector<std::string> outputs;
  nlohmann::ordered_json others = nlohmann::ordered_json::object();
  int64_t length = -1, truncation = -1;  // as the data has them, -1: not at all
};

// `<task>/validation.jsonl`. InputError naming file, line and field, and for two rows of one index.
std::vector<RulerRow> read_ruler_data(const std::string& path);
// A line of such a file.
nlohmann::ordered_json ruler_data_row(const RulerRow& row);

struct RulerPrediction {
  std::string prediction;
  std::vector<std::string> outputs;  // at least one
  std::string id;                    // others.id, or the index
};
// `<task>.jsonl` of a folder of predictions, whoever made them.
std::vector<RulerPrediction> read_ruler_predictions(const std::string& path);

// A row as the published program writes it; its input is what the model saw, prefix and all.
nlohmann::ordered_json ruler_prediction(const RulerRow& row, const std::string& prediction);
// The indices of rows that a file of predictions has already. InputError for one that the data has
// not, and for one that is there twice.
std::set<int64_t> ruler_rows_done(const PredictionFile& file, const std::vector<RulerRow>& data);

}  // namespace elastron::benchmark

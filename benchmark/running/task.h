// What a benchmark asks of a model: a task is one file of predictions, and a row of its data one
// question, or several that follow each other.
#pragma once
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "benchmark/prediction_file.h"
#include "core/file/rows_identity.h"

namespace elastron::benchmark {

struct Question {
  std::vector<int32_t> ids;  // of the prompt
  bool truncated = false;    // the prompt lost its middle
  int64_t max_tokens = 0, min_tokens = 0;
  std::vector<int32_t> stop_ids;  // end the answer beside the model's own
};

class Task {
 public:
  virtual ~Task() = default;

  virtual std::string name() const = 0;    // of its file of predictions, without ".jsonl"
  virtual std::string folder() const = 0;  // of that file below the run's: a length, or empty
  virtual int64_t rows() const = 0;

  // All that follow throw InputError naming the row for what is wrong with it.
  virtual Question question(int64_t row) const = 0;
  // `texts`: what was answered so far. Nothing: that is all.
  virtual std::optional<Question> next_question(int64_t /*row*/,
                                                const std::vector<std::string>& /*texts*/) const {
    return {};
  }
  // Positions that a row may take whose first question is this.
  virtual int64_t positions(const Question& first) const {
    return int64_t(first.ids.size()) + first.max_tokens;
  }
  // The row as the published program writes it.
  virtual nlohmann::ordered_json prediction(int64_t row,
                                            const std::vector<std::string>& texts) const = 0;
  // How many of the data's first rows the file has. InputError where it has others.
  virtual int64_t rows_done(const PredictionFile& file) const = 0;
  // The parts of the task's results that a row counts in beside the whole, such as a bucket of lengths.
  virtual std::vector<std::string> parts(int64_t /*row*/) const { return {}; }
  // What predictions depend on beside the model: a checksum of the rows, prompts, limits.
  virtual RowsIdentity identity() const = 0;
};

using Tasks = std::vector<std::unique_ptr<Task>>;

}  // namespace elastron::benchmark

// A file of predictions that grows row by row, and that a stopped run goes on with.
#pragma once
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file/append_file.h"

namespace elastron::benchmark {

class PredictionFile {
 public:
  // Takes up the rows that are there, and makes the folder and the file where they are not. A last
  // line without its newline was being written when the run was stopped, and is cut off. Throws
  // InputError naming file and line for a whole line that is no JSON object, UsageError where the
  // file cannot be written.
  explicit PredictionFile(const std::string& path);

  // What is there already: whole rows, each with its place. Freed by the first append.
  struct Row {
    nlohmann::json value;
    std::string where;
  };
  const std::vector<Row>& rows() const { return rows_; }
  int64_t count() const { return count_; }
  const std::string& path() const { return out_->path(); }

  // One line, as the published programs write it: all but control characters as they are, in UTF-8.
  // Throws UsageError where the disk does not take it.
  void append(const nlohmann::ordered_json& row);

 private:
  std::vector<Row> rows_;
  int64_t count_ = 0;
  std::unique_ptr<AppendFile> out_;
};

}  // namespace elastron::benchmark

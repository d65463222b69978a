#include "benchmark/prediction_file.h"

#include <filesystem>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/json.h"
#include "data/jsonl.h"

namespace elastron::benchmark {

namespace {

namespace fs = std::filesystem;

// 0 where there is no file.
uint64_t bytes_of(const std::string& path) {
  std::error_code none;
  const auto size = fs::file_size(path, none);
  return none ? 0 : uint64_t(size);
}

void cut_off(const std::string& path, uint64_t bytes) {
  std::error_code error;
  fs::resize_file(path, bytes, error);
  if (error) {
    throw UsageError("cannot cut off the torn last line: " + error.message(), path,
                     "check the folder's permissions");
  }
}

}  // namespace

PredictionFile::PredictionFile(const std::string& path) {
  if (const auto folder = fs::path(path).parent_path(); !folder.empty()) {
    make_folder(folder.string());
  }
  if (bytes_of(path) > 0) {
    uint64_t whole = 0;  // bytes of lines with their newline
    bool torn = false;
    data::JsonlReader lines(path);
    data::JsonlLine line;
    while (lines.next(line)) {
      torn = !line.terminated;
      if (torn) break;
      Row& row = rows_.emplace_back();
      row.where = data::place_of(line, path);
      row.value = data::parse_json_line(line, path, {.max_depth = 16});
      if (!row.value.is_object()) {
        throw InputError("the line is not a JSON object", row.where,
                         "remove the line, or predict into another folder");
      }
      whole = lines.bytes_read();
    }
    if (torn) cut_off(path, whole);
  }
  count_ = int64_t(rows_.size());
  out_ = std::make_unique<AppendFile>(path);
}

void PredictionFile::append(const nlohmann::ordered_json& row) {
  rows_.clear();
  const std::string line =
      row.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  const uint64_t before = bytes_of(out_->path());
  out_->append(line);
  // A row that is missing would shift those behind it, which have no names in LongBench.
  if (bytes_of(out_->path()) != before + line.size()) {
    throw UsageError("a prediction could not be written", out_->path(),
                     "make room on the disk and start again: the rows before it are there");
  }
  ++count_;
}

}  // namespace elastron::benchmark

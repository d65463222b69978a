// Records as JSON lines: {"context", "question", "answer", "metadata": {"task", "is_prefix"}}.
#pragma once
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/error.h"
#include "core/file/line_reader.h"
#include "data/record.h"

namespace elastron {
struct JsonLimits;
}

namespace elastron::data {

// A line of a file that is not blank, not parsed yet.
struct JsonlLine {
  std::string text;        // without the newline
  int64_t number = 0;      // in the file, from 1
  bool terminated = true;  // by a newline; the last line needs none
};

// Reads a file front to back; memory is bounded by the longest line. Throws InputError: missing,
// not a regular file, empty, cut off meanwhile, a line over 64 MiB, or no lines of UTF-8 by its
// first bytes: compressed, UTF-16, Parquet and the like.
class JsonlReader {
 public:
  explicit JsonlReader(const std::string& path);
  // false at the end of the file. `line`'s storage is used again.
  bool next(JsonlLine& line);
  uint64_t size() const { return lines_.bytes(); }
  uint64_t bytes_read() const { return lines_.bytes_read(); }  // of the lines given out and skipped

 private:
  LineReader lines_;
};

// The value of a line. Throws InputError naming file:line for one that is not UTF-8, not JSON, or
// cut off at the end of the file.
nlohmann::json parse_json_line(const JsonlLine& line, const std::string& path,
                               const JsonLimits& limits);

// A missing "answer" is an empty one: the record has none. `metadata` is an object, or its text:
// JSON, or what Python's str() makes of a dict. Its "kind" is optional, its "is_prefix" true by
// default. U+FEFF is stripped (docs/method.md, Documents). Throws InputError naming file:line and
// the field for a line that is not UTF-8, not a valid record, or cut off at the end of the file.
Record parse_jsonl(const JsonlLine& line, const std::string& path);

// "file:line".
std::string place_of(const JsonlLine& line, const std::string& path);

// Faults are counted by this: the error without the place that parse_jsonl named, without advice.
std::string fault_of(const Error& error, const std::string& place);

// One line, with the newline; parse_jsonl gives the same record back. Throws InputError when a
// field is not UTF-8.
std::string jsonl_line(const Record& record);

}  // namespace elastron::data

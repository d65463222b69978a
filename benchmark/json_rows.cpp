#include "benchmark/json_rows.h"

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/error.h"
#include "core/file/input_file.h"
#include "core/json.h"
#include "data/jsonl.h"

namespace elastron::benchmark {

using nlohmann::json;

namespace {

constexpr uint64_t kLargestList = uint64_t(2) << 30;  // LongBench-v2's data.json has 465 MB
constexpr uint64_t kLargestObject = uint64_t(16) << 20;
constexpr int kDepth = 16;

// Whether the file's first byte that is no white space opens a list.
bool is_list(const std::string& path) {
  const InputFile file(path);
  std::string head(size_t(std::min<uint64_t>(file.size(), 64)), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(head)));
  const size_t first = head.find_first_not_of(" \t\r\n");
  return first != head.npos && head[first] == '[';
}

}  // namespace

void for_each_row(const std::string& path,
                  const std::function<void(const json&, const std::string&)>& take) {
  if (is_list(path)) {
    const json list = parse_json_strict(read_small_file(path, kLargestList), path,
                                        {.max_bytes = kLargestList, .max_depth = kDepth});
    for (size_t i = 0; i < list.size(); ++i) take(list[i], path + ", row " + std::to_string(i + 1));
    return;
  }
  data::JsonlReader lines(path);
  data::JsonlLine line;
  while (lines.next(line)) {
    take(data::parse_json_line(line, path, {.max_depth = kDepth}), data::place_of(line, path));
  }
}

std::vector<std::string> text_list(const JsonFields& fields, const std::string& name,
                                   bool may_lack) {
  std::vector<std::string> texts;
  if (may_lack && !fields.has(name)) return texts;
  const json& list = fields.field(name);
  if (!list.is_array()) fields.fail("field '" + name + "' is not a list");
  for (const json& item : list) {
    if (!item.is_string()) fields.fail("field '" + name + "' has an item that is not a string");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

json read_json_object(const std::string& path) {
  json object = parse_json_strict(read_small_file(path, kLargestObject), path);
  if (!object.is_object()) {
    throw InputError("the file is not a JSON object", path, "give the benchmark's own file");
  }
  return object;
}

}  // namespace elastron::benchmark

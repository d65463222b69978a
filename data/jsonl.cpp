#include "data/jsonl.h"

#include <fstream>

#include "core/error.h"
#include "core/json.h"

namespace elastron::data {

namespace {

constexpr size_t kLongestLine = size_t(64) << 20;
const std::string kFields = "give context, question, answer and metadata.task";

std::string text_field(const nlohmann::json& object, const std::string& key,
                       const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) throw InputError("field '" + key + "' is missing", where, kFields);
  if (!it->is_string()) throw InputError("field '" + key + "' is not a string", where, kFields);
  std::string text = it->get<std::string>();
  // Byte order marks come in from files glued together (spec 9).
  for (size_t at = text.find("\xEF\xBB\xBF"); at != std::string::npos;
       at = text.find("\xEF\xBB\xBF", at)) {
    text.erase(at, 3);
  }
  return text;
}

Record parse_record(const std::string& line, const std::string& where) {
  const auto object = parse_json_strict(line, where, {.max_bytes = kLongestLine, .max_depth = 16});
  if (!object.is_object()) throw InputError("the line is not a JSON object", where, kFields);
  Record record{.context = text_field(object, "context", where),
                .question = text_field(object, "question", where),
                .answer = text_field(object, "answer", where)};
  if (!object.contains("metadata")) {
    throw InputError("field 'metadata' is missing", where, kFields);
  }
  nlohmann::json metadata = object["metadata"];
  if (metadata.is_string()) {
    metadata = parse_json_strict(metadata.get<std::string>(), where + ", metadata",
                                 {.max_bytes = kLongestLine, .max_depth = 16});
  }
  if (!metadata.is_object()) throw InputError("field 'metadata' is not an object", where, kFields);
  record.task = text_field(metadata, "task", where + ", metadata");
  if (metadata.contains("kind")) record.kind = text_field(metadata, "kind", where + ", metadata");
  if (metadata.contains("is_prefix")) {
    if (!metadata["is_prefix"].is_boolean()) {
      throw InputError("field 'is_prefix' is not true or false", where + ", metadata", kFields);
    }
    record.is_prefix = metadata["is_prefix"].get<bool>();
  }
  return record;
}

// Like std::getline, but refuses a line before it has eaten the memory.
bool read_line(std::istream& in, std::string& line, const std::string& where) {
  line.clear();
  int c = 0;
  std::streambuf& buffer = *in.rdbuf();
  while ((c = buffer.sbumpc()) != std::char_traits<char>::eof()) {
    if (c == '\n') return true;
    line.push_back(char(c));
    if (line.size() > kLongestLine) {
      throw InputError("the line is over 64 MiB", where, "split the record");
    }
  }
  if (line.empty()) return false;
  throw InputError("the file ends in the middle of a line", where,
                   "the file may be cut off; end the last line with a newline");
}

}  // namespace

void read_jsonl(const std::string& path,
                const std::function<void(const Record&, const std::string& where)>& on_record) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw InputError("cannot read the data file", path, "check data.train and data.eval");
  std::string line;
  for (int64_t number = 1;; ++number) {
    const std::string where = path + ":" + std::to_string(number);
    if (!read_line(in, line, where)) return;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    on_record(parse_record(line, where), where);
  }
}

std::string jsonl_line(const Record& record) {
  nlohmann::ordered_json metadata = {{"task", record.task}};
  if (!record.kind.empty()) metadata["kind"] = record.kind;
  metadata["is_prefix"] = record.is_prefix;
  const nlohmann::ordered_json object = {{"context", record.context},
                                         {"question", record.question},
                                         {"answer", record.answer},
                                         {"metadata", metadata}};
  return object.dump() + "\n";
}

}  // namespace elastron::data

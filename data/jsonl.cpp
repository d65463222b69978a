#include "data/jsonl.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "core/error.h"
#include "core/json.h"
#include "core/utf8.h"
#include "data/python_literal.h"

namespace elastron::data {

namespace {

constexpr size_t kLongestLine = size_t(64) << 20;
constexpr JsonLimits kLimits = {.max_bytes = kLongestLine, .max_depth = 16};
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
const char* const kFields = "give context, question, answer and metadata.task";

std::string text_field(const nlohmann::json& object, const std::string& key,
                       const std::string& name, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) throw InputError("field '" + name + "' is missing", where, kFields);
  if (!it->is_string()) throw InputError("field '" + name + "' is not a string", where, kFields);
  std::string text = it->get<std::string>();
  for (size_t at = text.find(kByteOrderMark); at != std::string::npos;
       at = text.find(kByteOrderMark, at)) {
    text.erase(at, kByteOrderMark.size());
  }
  return text;
}

nlohmann::json metadata_of(const nlohmann::json& object, const std::string& where) {
  const auto it = object.find("metadata");
  if (it == object.end()) throw InputError("field 'metadata' is missing", where, kFields);
  nlohmann::json metadata = *it;
  if (metadata.is_string()) {
    const std::string text = metadata.get<std::string>();
    const std::string inner = where + ", metadata";
    // JSON needs double quotes, Python prefers single ones: the first quote tells them apart.
    const size_t quote = text.find_first_of("'\"");
    metadata = quote != text.npos && text[quote] == '"' ? parse_json_strict(text, inner, kLimits)
                                                        : parse_python_literal(text, inner);
  }
  if (!metadata.is_object()) throw InputError("field 'metadata' is not an object", where, kFields);
  return metadata;
}

Record parse_record(const nlohmann::json& object, const std::string& where) {
  if (!object.is_object()) throw InputError("the line is not a JSON object", where, kFields);
  Record record;
  record.context = text_field(object, "context", "context", where);
  record.question = text_field(object, "question", "question", where);
  if (object.contains("answer")) record.answer = text_field(object, "answer", "answer", where);
  const nlohmann::json metadata = metadata_of(object, where);
  record.task = text_field(metadata, "task", "metadata.task", where);
  if (metadata.contains("kind")) {
    record.kind = text_field(metadata, "kind", "metadata.kind", where);
  }
  if (const auto it = metadata.find("is_prefix"); it != metadata.end()) {
    if (!it->is_boolean()) {
      throw InputError("field 'metadata.is_prefix' is not true or false", where, kFields);
    }
    record.is_prefix = it->get<bool>();
  }
  return record;
}

// Whether a text is the beginning of a JSON value whose end is missing. Builds nothing.
class EndOfValue final : public nlohmann::json_sax<nlohmann::json> {
 public:
  static bool missing(std::string_view text) {
    EndOfValue reader;
    if (nlohmann::json::sax_parse(text, &reader)) return false;
    // The parser counts the end of its input as one more byte.
    return reader.position_ > text.size();
  }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    position_ = position;
    return false;
  }

 private:
  size_t position_ = 0;
};

// Files that people take for JSON lines, by their first bytes.
struct OtherKind {
  std::string_view begins, name, todo;
};
using namespace std::string_view_literals;
constexpr OtherKind kOtherKinds[] = {
    {"\x1f\x8b"sv, "gzip data", "unpack it (gunzip)"},
    {"\x28\xb5\x2f\xfd"sv, "Zstandard data", "unpack it (unzstd)"},
    {"\xfd"
     "7zXZ"sv,
     "xz data", "unpack it (unxz)"},
    {"BZh"sv, "bzip2 data", "unpack it (bunzip2)"},
    {"PK\x03\x04"sv, "a zip archive", "unpack it (unzip)"},
    {"PAR1"sv, "Parquet", "convert it with launch/convert_parquet.py"},
    {"ARROW1"sv, "Arrow data", "convert it to JSON lines"},
    {"\x89HDF"sv, "HDF5", "set data.format: packed if elastron pack wrote it"},
    {"version https://git-lfs"sv, "a Git LFS pointer", "fetch the file itself (git lfs pull)"},
    {"\xff\xfe\0\0"sv, "UTF-32 text", "convert it to UTF-8 (iconv)"},
    {"\0\0\xfe\xff"sv, "UTF-32 text", "convert it to UTF-8 (iconv)"},
    {"\xff\xfe"sv, "UTF-16 text", "convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"},
    {"\xfe\xff"sv, "UTF-16 text", "convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"},
    {"{\0"sv, "UTF-16 text", "convert it to UTF-8 (iconv -f UTF-16LE -t UTF-8)"},
    {"\0{"sv, "UTF-16 text", "convert it to UTF-8 (iconv -f UTF-16BE -t UTF-8)"},
};

void refuse_other_kinds(const std::string& path) {
  const InputFile file(path);
  std::string head(size_t(std::min<uint64_t>(file.size(), 32)), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(head)));
  for (const OtherKind& kind : kOtherKinds) {
    if (!head.starts_with(kind.begins)) continue;
    throw InputError("the file is " + std::string(kind.name) + ", not JSON lines of UTF-8", path,
                     std::string(kind.todo));
  }
}

}  // namespace

JsonlReader::JsonlReader(const std::string& path) : lines_(path, kLongestLine) {
  refuse_other_kinds(path);
}

bool JsonlReader::next(JsonlLine& line) {
  while (lines_.next()) {
    std::string_view text = lines_.line();
    if (lines_.number() == 1 && text.starts_with(kByteOrderMark)) {
      text.remove_prefix(kByteOrderMark.size());
    }
    if (text.find_first_not_of(" \t\r") == text.npos) continue;
    line.text = text;
    line.number = lines_.number();
    line.terminated = lines_.ended_by_newline();
    return true;
  }
  return false;
}

std::string place_of(const JsonlLine& line, const std::string& path) {
  return path + ":" + std::to_string(line.number);
}

nlohmann::json parse_json_line(const JsonlLine& line, const std::string& path,
                               const JsonLimits& limits) {
  const std::string where = place_of(line, path);
  // Before UTF-8, of which a cut may leave half a character.
  if (!line.terminated && EndOfValue::missing(line.text)) {
    throw InputError("the file ends in the middle of a record", where,
                     "the file may be cut off: copy or make it again");
  }
  if (const auto bad = first_invalid_utf8(line.text)) {
    throw InputError("text that is not UTF-8", where + ", byte " + std::to_string(*bad + 1),
                     "convert the file to UTF-8");
  }
  return parse_json_strict(line.text, where, limits);
}

std::string fault_of(const Error& error, const std::string& place) {
  const std::string_view line = error.what();
  return std::string(line.substr(0, line.find(" (" + place)));
}

Record parse_jsonl(const JsonlLine& line, const std::string& path) {
  return parse_record(parse_json_line(line, path, kLimits), place_of(line, path));
}

std::string jsonl_line(const Record& record) {
  for (const std::string* text :
       {&record.context, &record.question, &record.answer, &record.task, &record.kind}) {
    if (first_invalid_utf8(*text)) {
      throw InputError("text that is not UTF-8", "record of task " + record.task.substr(0, 60),
                       "convert it");
    }
  }
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

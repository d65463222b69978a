#include "core/file/rows_identity.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/json.h"
#include "core/json_fields.h"

namespace elastron {

namespace {

bool has_bytes(const std::string& path) {
  std::error_code none;
  const auto size = std::filesystem::file_size(path, none);
  return !none && size > 0;
}

// The end of a long value: paths differ there.
std::string shown(const RowsIdentity& identity, const std::string& name) {
  const auto it = identity.find(name);
  if (it == identity.end()) return "not given";
  const std::string& value = it->second;
  return "'" + (value.size() > 80 ? "..." + value.substr(value.size() - 77) : value) + "'";
}

RowsIdentity parse_identity(const std::string& text, const std::string& path,
                            const std::string& todo) {
  const nlohmann::json object = parse_json_strict(text, path);
  const JsonFields fields(object, path, todo);
  RowsIdentity identity;
  for (const auto& [name, value] : object.items()) identity[name] = fields.text(name);
  return identity;
}

}  // namespace

void claim_rows(const std::string& path, const std::string& rows_path, const RowsIdentity& identity,
                const std::string& todo) {
  using Json = nlohmann::ordered_json;
  const std::string text =
      Json(identity).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  if (!has_bytes(rows_path)) {
    write_text_atomically(path, text, ExitCode::usage);
    return;
  }
  if (!has_bytes(path)) {
    throw UsageError("rows of an unknown evaluation are there", rows_path, todo);
  }
  std::ifstream in(path, std::ios::binary);
  const std::string text_there{std::istreambuf_iterator<char>(in), {}};
  if (text_there == text) return;

  const RowsIdentity there = parse_identity(text_there, path, todo);
  const RowsIdentity here = parse_identity(text, path, todo);
  RowsIdentity all = there;
  all.insert(here.begin(), here.end());
  std::string differences;
  for (const auto& [name, value] : all) {
    if (there.contains(name) && here.contains(name) && there.at(name) == here.at(name)) continue;
    differences += (differences.empty() ? "" : "; ") + name + " was " + shown(there, name) +
                   ", is " + shown(here, name);
  }
  if (differences.empty()) return;
  throw UsageError("rows of another evaluation are there: " + differences, rows_path, todo);
}

}  // namespace elastron

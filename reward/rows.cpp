#include "reward/rows.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "reward/results_table.h"

namespace elastron::reward {

namespace {

using nlohmann::json;

const char* const kFields =
    "give prompt, chosen and rejected, or question, chosen, rejected, task and ctx_length";

const json& field(const json& object, const char* name, const std::string& where) {
  const auto it = object.find(name);
  if (it == object.end()) {
    throw InputError("field '" + std::string(name) + "' is missing", where, kFields);
  }
  return *it;
}

std::string text_of(const json& value, const std::string& name, const std::string& where) {
  if (!value.is_string()) throw InputError("field '" + name + "' is not a string", where, kFields);
  return value.get<std::string>();
}

std::vector<std::string> texts_of(const json& value, const std::string& name,
                                  const std::string& where) {
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array() || value.empty()) {
    throw InputError("field '" + name + "' is neither a string nor a list of some", where, kFields);
  }
  std::vector<std::string> texts;
  for (const json& item : value) texts.push_back(text_of(item, name, where));
  return texts;
}

std::vector<data::ChatMessage> messages_of(const json& value, const std::string& where) {
  if (value.is_string()) return {{"user", value.get<std::string>()}};
  if (!value.is_array() || value.empty()) {
    throw InputError("field 'prompt' is neither a string nor a list of messages", where, kFields);
  }
  std::vector<data::ChatMessage> messages;
  for (const json& item : value) {
    if (!item.is_object()) {
      throw InputError("a message of 'prompt' is not an object", where,
                       "give each message a role and its content");
    }
    const std::string role = text_of(field(item, "role", where), "prompt.role", where);
    if (role != "system" && role != "user" && role != "assistant") {
      throw InputError("a message has the role '" + role.substr(0, 40) + "'", where,
                       "roles are system, user and assistant");
    }
    messages.push_back({role, text_of(field(item, "content", where), "prompt.content", where)});
  }
  return messages;
}

bool of_benchmark(const PreferenceRow& row) { return !row.length.empty(); }

}  // namespace

void add_to(Checksum& sum, const PreferenceRow& row) {
  for (const auto& message : row.prompt) {
    sum.add(message.role);
    sum.add(message.content);
  }
  sum.add(row.chosen);
  for (const std::string& rejected : row.rejected) sum.add(rejected);
}

PreferenceRow parse_preference_row(const data::JsonlLine& line, const std::string& path) {
  PreferenceRow row;
  row.where = data::place_of(line, path);
  // Traces nest: graphs of steps with their own lists.
  const json object = data::parse_json_line(line, path, {.max_depth = 64});
  if (!object.is_object()) throw InputError("the line is not a JSON object", row.where, kFields);
  const bool has_prompt = object.contains("prompt");
  const bool has_question = object.contains("question") && object.contains("ctx_length");
  if (has_prompt && !has_question) {
    row.prompt = messages_of(object["prompt"], row.where);
    if (object.contains("rejected") && object.contains("rejects")) {
      throw InputError("the row has both 'rejected' and 'rejects'", row.where, "give one of them");
    }
    const char* name = object.contains("rejects") ? "rejects" : "rejected";
    row.rejected = texts_of(field(object, name, row.where), name, row.where);
    if (const auto it = object.find("margin"); it != object.end() && !it->is_null()) {
      if (!it->is_number()) {
        throw InputError("field 'margin' is not a number", row.where, "leave it out, or give one");
      }
      row.margin = it->get<double>();
    }
  } else {
    row.prompt = {{"user", text_of(field(object, "question", row.where), "question", row.where)}};
    row.rejected = {text_of(field(object, "rejected", row.where), "rejected", row.where)};
    row.setting = text_of(field(object, "task", row.where), "task", row.where);
    row.length = text_of(field(object, "ctx_length", row.where), "ctx_length", row.where);
    if (object.contains("subtask")) row.subtask = text_of(object["subtask"], "subtask", row.where);
    if (row.length.empty() || row.setting.empty()) {
      throw InputError("field 'task' or 'ctx_length' is empty", row.where, kFields);
    }
  }
  row.chosen = text_of(field(object, "chosen", row.where), "chosen", row.where);
  return row;
}

std::string reason_to_leave_out(const PreferenceRow& row) {
  const auto blank = [](const std::string& text) {
    return text.find_first_not_of(" \t\r\n") == text.npos;
  };
  if (blank(row.chosen) || std::any_of(row.rejected.begin(), row.rejected.end(), blank)) {
    return "empty response";
  }
  if (std::find(row.rejected.begin(), row.rejected.end(), row.chosen) != row.rejected.end()) {
    return "chosen equals rejected";
  }
  if (of_benchmark(row) && std::find(std::begin(kLengthClasses), std::end(kLengthClasses),
                                     row.length) == std::end(kLengthClasses)) {
    return "unknown length class";
  }
  return "";
}

PreferenceFile read_preference_file(const std::string& path, BadRows bad_rows) {
  PreferenceFile file;
  data::JsonlReader reader(path);
  std::set<std::string> known;
  std::string first;
  bool benchmark = false;
  for (data::JsonlLine line; reader.next(line);) {
    PreferenceRow row = parse_preference_row(line, path);
    row.index = file.lines();
    if (first.empty()) {
      first = row.where;
      benchmark = of_benchmark(row);
    } else if (of_benchmark(row) != benchmark) {
      throw InputError(std::string("a row ") +
                           (benchmark ? "with a prompt" : "of MemoryRewardBench") +
                           " in a file that began with the other form",
                       row.where, "give each form a file of its own");
    }
    std::string reason = reason_to_leave_out(row);
    Checksum identity;
    add_to(identity, row);
    if (reason.empty() && !known.insert(identity.digest()).second) reason = "duplicate row";
    if (reason.empty()) {
      file.rows.push_back(std::move(row));
    } else if (bad_rows == BadRows::error) {
      throw InputError(reason, row.where, "mend the row, or have such rows left out and counted");
    } else {
      ++file.left_out[reason];
      row.left_out = reason;
      file.bad_rows.push_back(std::move(row));
    }
  }
  return file;
}

}  // namespace elastron::reward

#include "reward/rows.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "data/chat_messages.h"
#include "reward/message_pairs.h"
#include "reward/results_table.h"

namespace elastron::reward {

namespace {

using nlohmann::json;

const char* const kFields =
    "give prompt, chosen and rejected, chosen and rejected as lists of messages, or question, "
    "chosen, rejected, task and ctx_length";
// More kinds of faults than this are counted together.
constexpr size_t kMostReasons = 20;

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
  return data::chat_messages(value, "'prompt'", where);
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
  for (const auto& messages : row.before) {
    sum.add(int64_t(messages.size()));
    for (const auto& message : messages) {
      sum.add(message.role);
      sum.add(message.content);
    }
  }
}

PreferenceRow parse_preference_row(const data::JsonlLine& line, const std::string& path) {
  PreferenceRow row;
  row.where = data::place_of(line, path);
  // Traces nest: graphs of steps with their own lists.
  const json object = data::parse_json_line(line, path, {.max_depth = 64});
  if (!object.is_object()) throw InputError("the line is not a JSON object", row.where, kFields);
  if (object.contains("question") && object.contains("ctx_length")) {
    row.prompt = {{"user", text_of(object["question"], "question", row.where)}};
    row.chosen = text_of(field(object, "chosen", row.where), "chosen", row.where);
    row.rejected = {text_of(field(object, "rejected", row.where), "rejected", row.where)};
    row.setting = text_of(field(object, "task", row.where), "task", row.where);
    row.length = text_of(object["ctx_length"], "ctx_length", row.where);
    if (object.contains("subtask")) row.subtask = text_of(object["subtask"], "subtask", row.where);
    if (row.length.empty() || row.setting.empty()) {
      throw InputError("field 'task' or 'ctx_length' is empty", row.where, kFields);
    }
    return row;
  }
  if (object.contains("rejected") && object.contains("rejects")) {
    throw InputError("the row has both 'rejected' and 'rejects'", row.where, "give one of them");
  }
  const char* name = object.contains("rejects") ? "rejects" : "rejected";
  if (has_message_lists(object)) {
    field(object, name, row.where);
    read_message_lists(row, object, name);
  } else {
    row.prompt = messages_of(field(object, "prompt", row.where), row.where);
    row.rejected = texts_of(field(object, name, row.where), name, row.where);
    row.chosen = text_of(field(object, "chosen", row.where), "chosen", row.where);
  }
  if (const auto it = object.find("margin"); it != object.end() && !it->is_null()) {
    if (!it->is_number()) {
      throw InputError("field 'margin' is not a number", row.where, "leave it out, or give one");
    }
    row.margin = it->get<double>();
  }
  return row;
}

std::string reason_to_leave_out(const PreferenceRow& row) {
  const auto blank = [](const std::string& text) {
    return text.find_first_not_of(" \t\r\n") == text.npos;
  };
  if (blank(row.chosen) || std::any_of(row.rejected.begin(), row.rejected.end(), blank)) {
    return "empty response";
  }
  for (size_t i = 0; i < row.rejected.size(); ++i) {
    const bool same_before = row.before.empty() || row.before[i + 1] == row.before[0];
    if (row.rejected[i] == row.chosen && same_before) return "chosen equals rejected";
  }
  if (of_benchmark(row) && std::find(std::begin(kLengthClasses), std::end(kLengthClasses),
                                     row.length) == std::end(kLengthClasses)) {
    return "unknown length class";
  }
  return "";
}

std::string left_out_text(const std::map<std::string, int64_t>& left_out) {
  if (left_out.empty()) return "none";
  std::string text;
  for (const auto& [reason, count] : left_out) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + reason;
  }
  return text;
}

PreferenceFile read_preference_file(const std::string& path, BadRows bad_rows,
                                    data::BadRecords bad_records) {
  PreferenceFile file;
  data::JsonlReader reader(path);
  std::set<std::string> known;
  std::string first;
  bool benchmark = false;
  for (data::JsonlLine line; reader.next(line);) {
    PreferenceRow row;
    row.where = data::place_of(line, path);
    row.index = file.lines();
    const auto leave_out = [&](std::string reason) {
      const bool room = file.left_out.size() < kMostReasons;
      if (!room && !file.left_out.contains(reason)) reason = "other faults";
      ++file.left_out[reason];
      row.left_out = reason;
      file.bad_rows.push_back(std::move(row));
    };
    try {
      row = parse_preference_row(line, path);
    } catch (const InputError& error) {
      if (bad_records == data::BadRecords::error) throw;
      leave_out("no row: " + data::fault_of(error, row.where));
      continue;
    }
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
      throw InputError(reason, row.where,
                       "mend the row, or set reward.bad_rows: skip, which leaves such rows out and "
                       "counts them");
    } else {
      leave_out(reason);
    }
  }
  return file;
}

}  // namespace elastron::reward

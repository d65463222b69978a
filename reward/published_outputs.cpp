#include "reward/published_outputs.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <utility>

#include "core/json.h"
#include "core/json_fields.h"
#include "data/jsonl.h"
#include "reward/results_table.h"

namespace elastron::reward {

namespace {

int64_t count_of(const JsonFields& fields, const std::string& name) {
  if (!fields.has(name)) return 0;
  const int64_t count = fields.integer(name);
  if (count < 0) fields.fail("field '" + name + "' is negative");
  return count;
}

JudgedRow row_of(const JsonFields& fields) {
  JudgedRow row;
  row.index = fields.integer("index");
  if (row.index < 0) fields.fail("field 'index' is negative");
  row.setting = fields.text("task");
  if (row.setting.empty()) fields.fail("field 'task' is empty");
  if (fields.has("subtask")) row.subtask = fields.text("subtask");
  row.length = fields.text("ctx_length");
  if (std::find(std::begin(kLengthClasses), std::end(kLengthClasses), row.length) ==
      std::end(kLengthClasses)) {
    fields.fail("field 'ctx_length' is none of 8k, 16k, 32k, 64k, 128k");
  }
  row.tokens_chosen = count_of(fields, "chosen_length");
  row.tokens_rejected = count_of(fields, "rejected_length");

  // Which response was shown first: 0 is the chosen one.
  const nlohmann::json& order = fields.field("shuffled_order");
  Judgement judgement{.chosen_is_a = order == nlohmann::json{0, 1},
                      .output = fields.text("output"),
                      .swapped_output = {},
                      .prompt_tokens = count_of(fields, "LEN")};
  if (!judgement.chosen_is_a && order != nlohmann::json{1, 0}) {
    fields.fail("field 'shuffled_order' is neither [0, 1] nor [1, 0]");
  }
  row.judgement = std::move(judgement);
  return row;
}

}  // namespace

std::vector<JudgedRow> read_published_outputs(const std::string& path) {
  const std::string file = std::filesystem::path(path).stem().string();
  std::vector<JudgedRow> rows;
  std::map<int64_t, int64_t> seen;  // index to line
  data::JsonlReader reader(path);
  for (data::JsonlLine line; reader.next(line);) {
    const nlohmann::json object = data::parse_json_line(line, path, {.max_depth = 64});
    const JsonFields fields(object, data::place_of(line, path),
                            "give an output file of the published evaluator as it was written");
    JudgedRow row = row_of(fields);
    row.file = file;
    const auto [first, fresh] = seen.emplace(row.index, line.number);
    if (!fresh) {
      fields.fail("index " + std::to_string(row.index) + " is in line " +
                  std::to_string(first->second) + " too");
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace elastron::reward

#include "benchmark/longbench_v2/rows.h"

#include <algorithm>

#include "benchmark/json_rows.h"
#include "benchmark/scores/python_text.h"
#include "core/error.h"
#include "core/file/input_file.h"
#include "core/utf8.h"

namespace elastron::benchmark {

using nlohmann::json;

namespace {

constexpr size_t kContextKept = 1000;  // characters
constexpr uint64_t kLargestPrompt = uint64_t(1) << 20;
constexpr std::array<std::string_view, 4> kLetters = {"A", "B", "C", "D"};

void replace_all(std::string& text, std::string_view mark, std::string_view by) {
  std::string out;
  size_t at = 0;
  for (size_t found = text.find(mark); found != text.npos; found = text.find(mark, at)) {
    out.append(text, at, found - at).append(by);
    at = found + mark.size();
  }
  text = out.append(text, at);
}

// The letter behind the first `before` that has one there, followed by `after`.
std::optional<std::string> letter_between(std::string_view before, std::string_view text,
                                          std::string_view after) {
  for (size_t at = text.find(before); at != text.npos; at = text.find(before, at + 1)) {
    const std::string_view rest = text.substr(at + before.size());
    if (!rest.empty() && rest[0] >= 'A' && rest[0] <= 'D' && rest.substr(1).starts_with(after)) {
      return std::string(rest.substr(0, 1));
    }
  }
  return {};
}

std::string one_of(const JsonFields& fields, const std::string& name,
                   const std::vector<std::string>& words) {
  std::string text = fields.text(name);
  if (std::ranges::find(words, text) == words.end()) {
    fields.fail("field '" + name + "' is '" + text.substr(0, 40) + "'");
  }
  return text;
}

}  // namespace

std::vector<LongBenchV2Row> read_longbench_v2_data(const std::string& path) {
  std::vector<LongBenchV2Row> rows;
  std::set<std::string> ids;
  for_each_row(path, [&](const json& object, const std::string& where) {
    const JsonFields fields(object, where, "give LongBench-v2's own rows");
    LongBenchV2Row row{.id = fields.text("_id"),
                       .domain = fields.text("domain"),
                       .sub_domain = fields.text("sub_domain"),
                       .difficulty = one_of(fields, "difficulty", {"easy", "hard"}),
                       .length = one_of(fields, "length", {"short", "medium", "long"}),
                       .question = fields.text("question")};
    for (size_t i = 0; i < row.choices.size(); ++i) {
      row.choices[i] = fields.text("choice_" + std::string(kLetters[i]));
    }
    row.answer = one_of(fields, "answer", {kLetters.begin(), kLetters.end()});
    row.context = fields.text("context");
    if (!ids.insert(row.id).second) fields.fail("_id '" + row.id + "' is there twice");
    rows.push_back(std::move(row));
  });
  return rows;
}

std::string longbench_v2_prompt(std::string_view pattern, const LongBenchV2Row& row,
                                const std::optional<std::string>& thoughts) {
  std::string prompt(pattern);
  replace_all(prompt, "$DOC$", stripped(row.context));
  replace_all(prompt, "$Q$", stripped(row.question));
  for (size_t i = 0; i < row.choices.size(); ++i) {
    replace_all(prompt, "$C_" + std::string(kLetters[i]) + "$", stripped(row.choices[i]));
  }
  if (thoughts) replace_all(prompt, "$COT$", stripped(*thoughts));
  return prompt;
}

std::string read_longbench_v2_prompt(const std::string& path) {
  std::string text = read_small_file(path, kLargestPrompt);
  const std::string todo = "give LongBench-v2's own file, prompts/0shot.txt or another there";
  if (first_invalid_utf8(text)) throw InputError("text that is not UTF-8", path, todo);
  if (text.find("$Q$") == text.npos) {
    throw InputError("the prompt template has no $Q$", path, todo);
  }
  return text;
}

std::optional<std::string> longbench_v2_answer(std::string_view response) {
  std::string text(response);
  std::erase(text, '*');
  constexpr std::string_view kBefore = "The correct answer is ";
  auto letter = letter_between(std::string(kBefore) + "(", text, ")");
  return letter ? letter : letter_between(kBefore, text, "");
}

nlohmann::ordered_json longbench_v2_prediction(const LongBenchV2Row& row,
                                               const std::string& response,
                                               const std::optional<std::string>& thoughts) {
  nlohmann::ordered_json object = {{"_id", row.id},
                                   {"domain", row.domain},
                                   {"sub_domain", row.sub_domain},
                                   {"difficulty", row.difficulty},
                                   {"length", row.length},
                                   {"question", row.question}};
  for (size_t i = 0; i < row.choices.size(); ++i) {
    object["choice_" + std::string(kLetters[i])] = row.choices[i];
  }
  object["answer"] = row.answer;
  object["context"] = first_characters(row.context, kContextKept);
  if (thoughts) object["response_cot"] = stripped(*thoughts);
  object["response"] = stripped(response);
  const auto answer = longbench_v2_answer(stripped(response));
  object["pred"] = answer ? nlohmann::ordered_json(*answer) : nlohmann::ordered_json(nullptr);
  object["judge"] = answer == row.answer;
  return object;
}

std::set<std::string> longbench_v2_rows_done(const PredictionFile& file,
                                             const std::vector<LongBenchV2Row>& data) {
  std::set<std::string> known, done;
  for (const LongBenchV2Row& row : data) known.insert(row.id);
  for (const PredictionFile::Row& row : file.rows()) {
    const JsonFields fields(row.value, row.where,
                            "predict into another folder, or remove the file");
    const std::string id = fields.text("_id");
    if (!known.contains(id)) fields.fail("_id '" + id + "' is none of the data's");
    if (!done.insert(id).second) fields.fail("_id '" + id + "' is there twice");
  }
  return done;
}

}  // namespace elastron::benchmark

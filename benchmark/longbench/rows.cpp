#include "benchmark/longbench/rows.h"

#include "benchmark/json_rows.h"
#include "benchmark/python_format.h"
#include "core/error.h"

namespace elastron::benchmark {

using nlohmann::json;

namespace {

constexpr int64_t kMostNewTokens = int64_t(1) << 20;

LongBenchPrediction prediction_of(const json& object, const std::string& where) {
  const JsonFields fields(object, where,
                          "give rows with pred, answers, all_classes and length, as LongBench's "
                          "own program writes them");
  LongBenchPrediction row{fields.text("pred"),
                          text_list(fields, "answers"),
                          text_list(fields, "all_classes", true),
                          {},
                          where};
  if (fields.has("length")) row.length = fields.integer("length");
  return row;
}

template <class Map>
const auto& of_set(const Map& map, const LongBenchSet& set, const std::string& path) {
  const auto it = map.find(set.name);
  if (it == map.end()) {
    throw InputError("nothing for the set '" + std::string(set.name) + "'", path,
                     "give LongBench's own file, or add the set");
  }
  return it->second;
}

}  // namespace

std::vector<LongBenchRow> read_longbench_data(const std::string& path) {
  std::vector<LongBenchRow> rows;
  for_each_row(path, [&](const json& object, const std::string& where) {
    const JsonFields fields(object, where,
                            "give LongBench's own rows: input, context, answers, length, "
                            "all_classes");
    rows.push_back({.input = fields.text("input"),
                    .context = fields.text("context"),
                    .answers = text_list(fields, "answers"),
                    .classes = text_list(fields, "all_classes", true),
                    .has_classes = fields.has("all_classes"),
                    .length = fields.integer("length")});
  });
  return rows;
}

std::vector<LongBenchPrediction> read_longbench_predictions(const std::string& path) {
  std::vector<LongBenchPrediction> rows;
  for_each_row(path, [&](const json& object, const std::string& where) {
    rows.push_back(prediction_of(object, where));
  });
  return rows;
}

nlohmann::ordered_json longbench_prediction(const LongBenchRow& row,
                                            const std::string& prediction) {
  nlohmann::ordered_json object = {{"pred", prediction}, {"answers", row.answers}};
  object["all_classes"] = nullptr;
  if (row.has_classes) object["all_classes"] = row.classes;
  object["length"] = row.length;
  return object;
}

int64_t longbench_rows_done(const PredictionFile& file, const std::vector<LongBenchRow>& data) {
  const std::string todo = "predict into another folder, or remove the file";
  const auto& there = file.rows();
  if (there.size() > data.size()) {
    throw InputError("more rows than the data's " + std::to_string(data.size()),
                     there[data.size()].where, todo);
  }
  for (size_t i = 0; i < there.size(); ++i) {
    const LongBenchPrediction row = prediction_of(there[i].value, there[i].where);
    if (row.answers == data[i].answers && row.length == data[i].length) continue;
    throw InputError("a prediction of another row: its answers or length are not those of row " +
                         std::to_string(i + 1) + " of the data",
                     there[i].where, todo);
  }
  return int64_t(there.size());
}

LongBenchPrompts::LongBenchPrompts(const std::string& folder)
    : prompts_path_(folder + "/dataset2prompt.json"),
      lengths_path_(folder + "/dataset2maxlen.json") {
  const json prompts = read_json_object(prompts_path_);
  const JsonFields texts(prompts, prompts_path_, "give LongBench's own file");
  for (const auto& [name, value] : prompts.items()) {
    const std::string text = texts.text(name);
    if (text.find("{context}") == text.npos) {
      texts.fail("the template of '" + name + "' has no {context}");
    }
    templates_[name] = text;
  }
  const json lengths = read_json_object(lengths_path_);
  const JsonFields numbers(lengths, lengths_path_, "give LongBench's own file");
  for (const auto& [name, value] : lengths.items()) {
    const int64_t length = numbers.integer(name);
    if (length < 1 || length > kMostNewTokens) {
      numbers.fail("the number of new tokens of '" + name + "' is " + std::to_string(length));
    }
    lengths_[name] = length;
  }
}

std::string LongBenchPrompts::prompt(const LongBenchSet& set, const LongBenchRow& row) const {
  return python_format(of_set(templates_, set, prompts_path_),
                       {{"context", row.context}, {"input", row.input}},
                       prompts_path_ + ", " + std::string(set.name));
}

int64_t LongBenchPrompts::max_new_tokens(const LongBenchSet& set) const {
  return of_set(lengths_, set, lengths_path_);
}

}  // namespace elastron::benchmark

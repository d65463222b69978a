#include "benchmark/ruler/rows.h"

#include "benchmark/json_rows.h"
#include "core/error.h"

namespace elastron::benchmark {

using nlohmann::json;

namespace {

const char* const kAnotherFolder = "predict into another folder, or remove the file";

std::vector<std::string> outputs_of(const JsonFields& fields) {
  // The newest form has "outputs"; one text is "output".
  if (!fields.has("outputs") && fields.has("output")) return {fields.text("output")};
  std::vector<std::string> outputs = text_list(fields, "outputs");
  if (outputs.empty()) fields.fail("field 'outputs' is an empty list");
  return outputs;
}

std::string id_of(const JsonFields& fields) {
  if (fields.has("others")) {
    const json& others = fields.field("others");
    if (!others.is_object()) fields.fail("field 'others' is not an object");
    if (const auto id = others.find("id"); id != others.end() && !id->is_null()) {
      return id->is_string() ? id->get<std::string>() : id->dump();
    }
  }
  return std::to_string(fields.integer("index"));
}

}  // namespace

std::vector<RulerRow> read_ruler_data(const std::string& path) {
  std::vector<RulerRow> rows;
  std::set<int64_t> indices;
  for_each_row(path, [&](const json& object, const std::string& where) {
    const JsonFields fields(object, where,
                            "give the file that RULER's own script prepared: index, input, "
                            "outputs, length");
    RulerRow row{.index = fields.integer("index"), .input = fields.text("input")};
    row.outputs = outputs_of(fields);
    if (fields.has("answer_prefix")) row.answer_prefix = fields.text("answer_prefix");
    if (fields.has("others")) row.others = fields.field("others");
    if (!row.others.is_object()) fields.fail("field 'others' is not an object");
    if (fields.has("length")) row.length = fields.integer("length");
    if (fields.has("truncation")) row.truncation = fields.integer("truncation");
    if (!indices.insert(row.index).second) {
      fields.fail("index " + std::to_string(row.index) + " is there twice");
    }
    rows.push_back(std::move(row));
  });
  return rows;
}

nlohmann::ordered_json ruler_data_row(const RulerRow& row) {
  return {{"index", row.index},
          {"input", row.input},
          {"outputs", row.outputs},
          {"length", row.length},
          {"answer_prefix", row.answer_prefix},
          {"others", row.others}};
}

std::vector<RulerPrediction> read_ruler_predictions(const std::string& path) {
  std::vector<RulerPrediction> rows;
  for_each_row(path, [&](const json& object, const std::string& where) {
    const JsonFields fields(object, where,
                            "give rows with index, pred, outputs and others, as RULER's own "
                            "program writes them");
    rows.push_back({fields.text("pred"), outputs_of(fields), id_of(fields)});
  });
  return rows;
}

nlohmann::ordered_json ruler_prediction(const RulerRow& row, const std::string& prediction) {
  return {
      {"index", row.index},     {"pred", prediction},   {"input", row.input + row.answer_prefix},
      {"outputs", row.outputs}, {"others", row.others}, {"truncation", row.truncation},
      {"length", row.length}};
}

std::set<int64_t> ruler_rows_done(const PredictionFile& file, const std::vector<RulerRow>& data) {
  std::set<int64_t> known, done;
  for (const RulerRow& row : data) known.insert(row.index);
  for (const PredictionFile::Row& row : file.rows()) {
    const JsonFields fields(row.value, row.where, kAnotherFolder);
    const int64_t index = fields.integer("index");
    if (!known.contains(index)) {
      fields.fail("index " + std::to_string(index) + " is none of the data's");
    }
    if (!done.insert(index).second) {
      fields.fail("index " + std::to_string(index) + " is there twice");
    }
  }
  return done;
}

}  // namespace elastron::benchmark

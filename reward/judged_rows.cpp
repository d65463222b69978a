#include "reward/judged_rows.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/file/line_reader.h"
#include "core/json.h"
#include "core/json_fields.h"

namespace elastron::reward {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongestLine = size_t(64) << 20;

std::string place_of(const JudgedRow& row) {
  return row.file + ", row " + std::to_string(row.index);
}

double finite(double score, const JudgedRow& row) {
  if (!std::isfinite(score)) {
    throw NumericalError("a score is not finite", place_of(row),
                         "check the checkpoint, or evaluate in fp32");
  }
  return score;
}

Json count_or_null(int64_t count) { return count > 0 ? Json(count) : Json(nullptr); }

Json verdict_name(std::string_view output, VerdictRule rule) {
  const auto said = verdict(output, rule);
  if (!said) return nullptr;
  return *said == Verdict::a ? "A" : "B";
}

void add_judgement(Json& object, const Judgement& judgement) {
  object["order"] = judgement.chosen_is_a ? Json{0, 1} : Json{1, 0};
  object["prompt_tokens"] = count_or_null(judgement.prompt_tokens);
  object["verdict_strict"] = verdict_name(judgement.output, VerdictRule::strict);
  object["verdict_lenient"] = verdict_name(judgement.output, VerdictRule::lenient);
  object["right_strict"] = judgement.right(VerdictRule::strict);
  object["right_lenient"] = judgement.right(VerdictRule::lenient);
  object["output"] = judgement.output;
  if (!judgement.swapped_output) return;
  object["swapped_verdict_strict"] = verdict_name(*judgement.swapped_output, VerdictRule::strict);
  object["swapped_verdict_lenient"] = verdict_name(*judgement.swapped_output, VerdictRule::lenient);
  object["swapped_output"] = *judgement.swapped_output;
}

Judgement judgement_of(const JsonFields& fields) {
  Judgement judgement;
  const nlohmann::json& order = fields.field("order");
  judgement.chosen_is_a = order == nlohmann::json{0, 1};
  if (!judgement.chosen_is_a && order != nlohmann::json{1, 0}) {
    fields.fail("field 'order' is neither [0, 1] nor [1, 0]");
  }
  judgement.output = fields.text("output");
  if (fields.has("swapped_output")) judgement.swapped_output = fields.text("swapped_output");
  if (fields.has("prompt_tokens")) judgement.prompt_tokens = fields.integer("prompt_tokens");
  return judgement;
}

bool has_rows(const std::string& path) {
  std::error_code none;
  const auto size = std::filesystem::file_size(path, none);
  return !none && size > 0;
}

}  // namespace

std::string judged_row_line(const JudgedRow& row) {
  ELASTRON_CHECK(row.skipped() == (!row.scores && !row.judgement) &&
                     !(row.scores && row.judgement) && (!row.untrained || row.scores),
                 "a judged row has scores or a judgement, or says why not");
  Json object = {{"index", row.index},
                 {"file", row.file},
                 {"task", row.setting},
                 {"subtask", row.subtask},
                 {"ctx_length", row.length},
                 {"score_chosen", nullptr},
                 {"score_rejected", nullptr},
                 {"margin", nullptr},
                 {"tokens_chosen", count_or_null(row.tokens_chosen)},
                 {"tokens_rejected", count_or_null(row.tokens_rejected)},
                 {"truncated", row.truncated},
                 {"skipped", row.skipped()}};
  if (row.scores) {
    object["score_chosen"] = finite(row.scores->chosen, row);
    object["score_rejected"] = finite(row.scores->rejected, row);
    object["margin"] = finite(row.scores->margin(), row);
  }
  if (row.untrained) {
    object["untrained_chosen"] = finite(row.untrained->chosen, row);
    object["untrained_rejected"] = finite(row.untrained->rejected, row);
  }
  if (row.judgement) add_judgement(object, *row.judgement);
  if (row.skipped()) object["skip_reason"] = row.skip_reason;
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

JudgedRow parse_judged_row(std::string_view line, const std::string& where) {
  const nlohmann::json object = parse_json_strict(line, where, {.max_bytes = kLongestLine});
  const JsonFields fields(object, where, "remove the line, or the folder, and evaluate again");
  JudgedRow row;
  row.index = fields.integer("index");
  row.file = fields.text("file");
  row.setting = fields.text("task");
  row.subtask = fields.text("subtask");
  row.length = fields.text("ctx_length");
  if (fields.has("tokens_chosen")) row.tokens_chosen = fields.integer("tokens_chosen");
  if (fields.has("tokens_rejected")) row.tokens_rejected = fields.integer("tokens_rejected");
  row.truncated = fields.flag("truncated");
  if (fields.flag("skipped")) {
    row.skip_reason = fields.text("skip_reason");
    if (row.skip_reason.empty()) fields.fail("field 'skip_reason' is empty");
    return row;
  }
  if (fields.has("output")) {
    row.judgement = judgement_of(fields);
    return row;
  }
  row.scores = {fields.number("score_chosen"), fields.number("score_rejected")};
  if (fields.has("untrained_chosen")) {
    row.untrained = {fields.number("untrained_chosen"), fields.number("untrained_rejected")};
  }
  return row;
}

void sort_judged_rows(std::vector<JudgedRow>& rows, const std::vector<std::string>& files) {
  std::map<std::string, size_t> place;
  for (const std::string& file : files) place.emplace(file, place.size());
  for (const JudgedRow& row : rows) {
    ELASTRON_CHECK(place.contains(row.file), "a judged row of another file: " + row.file);
  }
  std::sort(rows.begin(), rows.end(), [&](const JudgedRow& a, const JudgedRow& b) {
    return std::pair(place.at(a.file), a.index) < std::pair(place.at(b.file), b.index);
  });
}

JudgedRowsFile::JudgedRowsFile(const std::string& folder, const EvaluationIdentity& identity,
                               std::vector<std::string> files)
    : files_(std::move(files)), path_(folder + "/rows.jsonl") {
  make_folder(folder);
  claim_rows(folder + "/rows.meta.json", path_, identity,
             "use another --out, or remove the folder");
  if (has_rows(path_)) take_up(path_);
  out_ = std::make_unique<AppendFile>(path_);
}

void JudgedRowsFile::take_up(const std::string& path) {
  uint64_t whole = 0;  // bytes of lines with their newline
  bool torn = false;
  {
    LineReader lines(path, kLongestLine);
    while (lines.next()) {
      torn = !lines.ended_by_newline();
      if (torn) break;
      JudgedRow row = parse_judged_row(lines.line(), lines.where());
      const auto fail = [&](const std::string& what) {
        throw InputError(what, lines.where(), "use another --out, or remove the folder");
      };
      if (std::find(files_.begin(), files_.end(), row.file) == files_.end()) {
        fail("a row of '" + row.file + "', which is not evaluated");
      }
      if (done(row.file, row.index)) fail("row " + std::to_string(row.index) + " is there twice");
      keep(std::move(row));
      whole = lines.bytes_read();
    }
  }
  if (torn) {
    std::error_code error;
    std::filesystem::resize_file(path, whole, error);
    if (error) {
      throw UsageError("cannot cut off the torn last line: " + error.message(), path,
                       "check the folder's permissions");
    }
  }
}

bool JudgedRowsFile::done(const std::string& file, int64_t index) const {
  return done_.contains({file, index});
}

void JudgedRowsFile::keep(JudgedRow row) {
  done_.emplace(row.file, row.index);
  rows_.push_back(std::move(row));
}

void JudgedRowsFile::append(JudgedRow row) {
  ELASTRON_CHECK(out_ != nullptr, "rows after the end of an evaluation");
  ELASTRON_CHECK(!done(row.file, row.index), "a row judged twice: " + place_of(row));
  out_->append(judged_row_line(row));
  keep(std::move(row));
}

std::vector<JudgedRow> JudgedRowsFile::finish() {
  out_.reset();
  sort_judged_rows(rows_, files_);
  std::string text;
  for (const JudgedRow& row : rows_) text += judged_row_line(row);
  write_text_atomically(path_, text);
  return rows_;
}

}  // namespace elastron::reward

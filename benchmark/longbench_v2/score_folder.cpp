#include "benchmark/longbench_v2/score_folder.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "benchmark/json_rows.h"
#include "benchmark/mean_score.h"
#include "benchmark/scores/means.h"

namespace elastron::benchmark {

using Json = nlohmann::ordered_json;

namespace {

constexpr std::array<const char*, 6> kParts = {"overall", "easy",   "hard",
                                               "short",   "medium", "long"};

struct Part {
  std::vector<double> right, compensated;  // by row
};

// By kParts; what is not easy is hard, what is neither short nor medium is long, as there.
using Parts = std::array<Part, kParts.size()>;

struct FileScores {
  Parts parts;
  int64_t unanswered = 0;
};

FileScores read_scores(const std::string& path) {
  FileScores scores;
  for_each_row(path, [&](const nlohmann::json& object, const std::string& where) {
    const JsonFields fields(object, where,
                            "give rows with difficulty, length, pred and judge, as LongBench-v2's "
                            "own program writes them");
    const double right = fields.flag("judge") ? 1.0 : 0.0;
    const bool answered = fields.has("pred");
    const std::string length = fields.text("length");
    scores.unanswered += !answered;
    for (const size_t part : {size_t(0), size_t(fields.text("difficulty") == "easy" ? 1 : 2),
                              size_t(length == "short"    ? 3
                                     : length == "medium" ? 4
                                                          : 5)}) {
      scores.parts[part].right.push_back(right);
      scores.parts[part].compensated.push_back(answered ? right : 0.25);
    }
  });
  return scores;
}

std::optional<double> percent(const std::vector<double>& rows) {
  if (rows.empty()) return {};
  return round_as_python(100 * sum_in_order(rows) / double(rows.size()), 1);
}

// The name without its last ending: files of a model are named by it, dots and all.
std::string name_of(const std::string& path) {
  const std::string file = path.substr(path.rfind('/') + 1);
  return file.substr(0, file.rfind('.'));
}

}  // namespace

ScoredFolder score_longbench_v2(const std::string& folder, const std::vector<std::string>& tasks) {
  auto files = prediction_files(folder);
  for (PredictionPath& file : files) file.name = name_of(file.path);
  check_tasks_are_there(tasks, files, folder);
  ScoredFolder result;
  result.published = Json::object();
  result.details["benchmark"] = "longbench-v2";
  result.table = fmt::format("{:<32}{:>6}{:>10}", "file", "rows", "no answer");
  for (const char* part : kParts) result.table += fmt::format("{:>9}", part);
  result.table += "  95 % interval\n";
  for (const PredictionPath& file : files) {
    if (!is_asked_for(tasks, file.name)) continue;
    const FileScores scores = read_scores(file.path);
    const auto& all = scores.parts[0].right;
    Json published = Json::object(), details = Json::object();
    details["rows"] = all.size();
    details["unanswered"] = scores.unanswered;
    result.table += fmt::format("{:<32}{:>6}{:>10}", file.name, all.size(), scores.unanswered);
    for (size_t p = 0; p < kParts.size(); ++p) {
      const Part& part = scores.parts[p];
      published[kParts[p]] = or_null(percent(part.right));
      details[kParts[p]] = mean_json(mean_score(part.right, kParts[p]), 1);
      details[kParts[p]]["score"] = published[kParts[p]];
      details[kParts[p]]["rows"] = part.right.size();
      details[kParts[p]]["compensated"] = or_null(percent(part.compensated));
      result.table += fmt::format("{:>9}", shown(percent(part.right), 1));
    }
    result.published[file.name] = published;
    result.details["files"][file.name] = details;
    result.table += "  " + shown_interval(mean_score(all, kParts[0]), 1) + "\n";
  }
  return result;
}

}  // namespace elastron::benchmark

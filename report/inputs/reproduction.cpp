#include "report/inputs/reproduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <utility>

#include "core/error.h"
#include "core/file/input_file.h"
#include "core/file/line_reader.h"
#include "data/synthetic/tasks.h"
#include "report/inputs/input.h"
#include "report/markup.h"

namespace elastron::report {

const std::vector<ReproducedFigure> kReproducedFigures = {
    {"static", "Fig. 2", "Static sparsity", "eval", true},
    {"elastic", "Fig. 1, 5, 6, Table 1", "Elastic routers", "eval", true},
    {"training", "Fig. 13", "Training of routers", "run", true},
    {"pooling", "Fig. 14", "Tokens that are pooled at each end", "eval"},
    {"place", "Fig. 14", "Place that is pooled", "eval"},
    {"modes", "Table 1", "Pairs of attention", "eval"},
    {"routing", "", "What decides, from what", "eval"},
    {"temperature", "", "Temperature of the gates", "eval"},
    {"width", "", "Width of the router", "eval"},
    {"lengths", "", "Lengths beyond training", "eval", true},
    {"unseen", "", "Kinds that routers never saw", "eval"},
    {"reward", "", "Reward model", "reward"},
    {"cost", "", "What it costs", "cost", true}};

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargest = uint64_t(64) << 20;
constexpr size_t kLongestLine = size_t(1) << 20;
constexpr const char* kRecord = "reproduction.json";

bool is_there(const std::string& path) {
  std::error_code unreadable_is_absent;
  return fs::exists(path, unreadable_is_absent);
}

// What a line says of a job, and where it stands.
struct Line {
  Job job;
  std::string where;

  std::string name() const {
    return fmt::format("{} {}{}{} seed {}", job.figure, job.series, job.at.empty() ? "" : " ",
                       job.at, job.seed);
  }
  bool same_job(const Job& other) const {
    return job.figure == other.figure && job.series == other.series && job.at == other.at &&
           job.seed == other.seed;
  }
};

[[noreturn]] void refuse(const Line& line, const std::string& what) {
  throw InputError(fmt::format("job '{}' of {}: {}", line.name(), line.where, what), line.job.file,
                   "run the job again, or take its line out");
}

const ReproducedFigure* figure_named(const std::string& id) {
  const auto found = std::ranges::find(kReproducedFigures, id, &ReproducedFigure::id);
  return found == kReproducedFigures.end() ? nullptr : &*found;
}

// A path below the results' folder.
bool is_below(const std::string& file) {
  const fs::path path = fs::path(file).lexically_normal();
  return !file.empty() && path.is_relative() && path != "." && *path.begin() != "..";
}

void check_line(const Line& line) {
  const Job& job = line.job;
  const ReproducedFigure* figure = figure_named(job.figure);
  if (figure == nullptr) refuse(line, "a figure that is not known");
  if (job.of != figure->of) {
    refuse(line, fmt::format("it is of '{}', and the figure of '{}'", job.of, figure->of));
  }
  const bool single = job.figure == "static" && (job.series == "full" || job.series == "sparse");
  if (figure->numbers && !single && !job.number) refuse(line, "'at' is not a number");
  if (!is_below(job.file)) refuse(line, "its file is not in the folder of results");
}

Line line_of(const Json& object, const std::string& where) {
  Line line{.job = {}, .where = where};
  Job& job = line.job;
  job.figure = text_in(object, "figure");
  job.series = text_in(object, "series");
  job.of = text_in(object, "of");
  job.file = text_in(object, "file");
  job.command = text_in(object, "command");
  job.seconds = number_in(object, "seconds");
  job.number = number_in(object, "at");
  job.at = job.number ? exact(*job.number) : text_in(object, "at");
  job.seed = int64_t(number_in(object, "seed").value_or(0));
  check_line(line);
  return line;
}

std::vector<Line> read_lines(const std::string& path) {
  std::vector<Line> lines;
  std::error_code error;
  // No job has ended yet.
  if (!is_there(path)) return lines;
  if (fs::is_regular_file(path, error) && fs::file_size(path) == 0) return lines;
  LineReader reader(path, kLongestLine);
  while (reader.next() && reader.ended_by_newline()) {
    Line line = line_of(parse_json_strict(reader.line(), reader.where()), reader.where());
    const auto before =
        std::ranges::find_if(lines, [&](const Line& each) { return each.same_job(line.job); });
    before == lines.end() ? lines.push_back(std::move(line)) : void(*before = std::move(line));
  }
  return lines;
}

// Text of no synthetic kind, which may ask nothing.
void add_other_kinds(const Json& by_kind, const Line& line, std::vector<KindResult>& kinds) {
  for (const std::string& name : names_in(by_kind)) {
    if (std::ranges::find(kinds, name, &KindResult::kind) != kinds.end()) continue;
    const Json& figures = object_in(by_kind, name);
    const auto msr = number_in(figures, "msr");
    if (!msr) refuse(line, "kind '" + name + "' has no MSR");
    kinds.push_back({name, false, number_in(figures, "accuracy").value_or(std::nan("")), *msr});
  }
}

std::vector<KindResult> kinds_in(const Json& row, const Line& line) {
  const Json& by_kind = object_in(row, "by_kind");
  std::vector<KindResult> kinds;
  for (int k = 0; k < data::kSyntheticKinds; ++k) {
    const auto kind = data::SyntheticKind(k);
    const std::string name(data::synthetic_kind_name(kind));
    if (!by_kind.contains(name)) continue;
    const Json& figures = object_in(by_kind, name);
    const auto accuracy = number_in(figures, "accuracy"), msr = number_in(figures, "msr");
    if (!accuracy || !msr) refuse(line, "kind '" + name + "' has no accuracy or no MSR");
    kinds.push_back({name, data::synthetic_kind_is_sensitive(kind), *accuracy, *msr});
  }
  if (line.job.figure == "unseen") add_other_kinds(by_kind, line, kinds);
  if (kinds.empty() || kinds.size() != by_kind.size()) {
    refuse(line, "'by_kind' has none or others than the synthetic kinds");
  }
  return kinds;
}

std::map<std::string, Matrix> full_by_kind_in(const Json& row, const Line& line) {
  std::map<std::string, Matrix> all;
  for (const auto& [kind, shares] : object_in(row, "full_by_kind").items()) {
    auto matrix = matrix_of(shares);
    if (!matrix) refuse(line, "'full_by_kind' of '" + kind + "' is not a number per head");
    all.emplace(kind, std::move(*matrix));
  }
  return all;
}

std::optional<KindCosines> cosines_in(const Json& row, const Line& line) {
  const Json& features = object_in(row, "features_by_kind");
  if (features.empty()) return {};
  KindCosines cosines;
  for (const Json& kind : list_in(features, "kinds")) {
    cosines.kinds.push_back(kind.is_string() ? kind.get<std::string>() : "");
  }
  const size_t n = cosines.kinds.size();
  for (const auto& [name, to] :
       {std::pair{"before", &cosines.before}, std::pair{"after", &cosines.after}}) {
    auto matrix = matrix_of(list_in(features, name));
    if (!matrix || matrix->size() != n || matrix->front().size() != n) {
      refuse(line,
             std::string("'features_by_kind' has no cosine per pair of kinds in '") + name + "'");
    }
    *to = std::move(*matrix);
  }
  return cosines;
}

KindResults kind_results(const std::string& path, const Line& line) {
  const Input input = read_input(path);
  const auto* evaluation = std::get_if<Evaluation>(&input);
  if (evaluation == nullptr) refuse(line, "its file is not of eval --out");
  if (evaluation->rows.size() != 1) refuse(line, "its file has several ways of deciding gates");
  const Json& row = evaluation->rows[0];
  return {.kinds = kinds_in(row, line),
          .full_by_kind = full_by_kind_in(row, line),
          .cosines = cosines_in(row, line)};
}

RewardResult reward_result(const std::string& path, const Line& line) {
  const Input input = read_input(path);
  const auto* report = std::get_if<RewardReport>(&input);
  if (report == nullptr) refuse(line, "its file is not of eval-reward");
  const Json& total = object_in(report->summary, "total");
  const auto accuracy = number_in(total, "accuracy");
  if (!accuracy) refuse(line, "its file has no accuracy");
  RewardResult result{.accuracy = *accuracy, .low = {}, .high = {}};
  const Json& interval = list_in(total, "interval");
  if (interval.size() == 2 && interval[0].is_number() && interval[1].is_number()) {
    result.low = interval[0].get<double>();
    result.high = interval[1].get<double>();
  }
  return result;
}

CostResult cost_result(const std::string& path, const Line& line) {
  const Json json = parse_json_strict(read_small_file(path, kLargest), path);
  if (!number_in(json, "tokens")) refuse(line, "its file is not of a cost: it has no 'tokens'");
  return {.prefill_seconds = number_in(json, "prefill_seconds"),
          .decode_tokens_per_second = number_in(json, "decode_tokens_per_second"),
          .msr = number_in(json, "msr"),
          .tiles_visited = number_in(json, "tiles_visited"),
          .cache_bytes = number_in(json, "cache_bytes"),
          .arithmetic_prefill = number_in(json, "arithmetic_prefill")};
}

// Never a folder that could be a reproduction, which would be read without end.
void read_result(Line& line, const std::string& folder) {
  Job& job = line.job;
  std::string path = folder + "/" + job.file;
  if (!is_there(path)) refuse(line, "its file is not there");
  if (job.of == "run") {
    if (!is_run_folder(path)) refuse(line, "its file is not the folder of a run");
    job.result = read_run(path);
    return;
  }
  std::error_code error;
  if (job.of == "reward" && fs::is_directory(path, error)) path += "/summary.json";
  if (!fs::is_regular_file(path, error)) refuse(line, "its file is not one of JSON");
  if (job.of == "eval") job.result = kind_results(path, line);
  if (job.of == "reward") job.result = reward_result(path, line);
  if (job.of == "cost") job.result = cost_result(path, line);
}

std::string kinds_of(const KindResults& results) {
  std::string names;
  for (const KindResult& each : results.kinds) names += " " + each.kind;
  return names;
}

std::string shape_of(const KindResults& results) {
  std::string shape;
  for (const auto& [kind, heads] : results.full_by_kind) {
    shape += fmt::format(" {}:{}x{}", kind, heads.size(), heads[0].size());
  }
  if (results.cosines) {
    for (const std::string& kind : results.cosines->kinds) shape += " " + kind;
  }
  return shape;
}

// Means over kinds, and of heads over seeds, are of the same things.
void check_alike(const std::vector<Line>& lines) {
  std::map<std::string, const Line*> firsts, routed;
  const auto same = [](const Line& line, const Line*& first, const char* what, const auto& told) {
    if (first == nullptr) first = &line;
    const auto of = [&](const Line& l) { return told(std::get<KindResults>(l.job.result)); };
    if (of(line) == of(*first)) return;
    refuse(line, fmt::format("it has other {} than job '{}':{} against{}", what, first->name(),
                             of(line), of(*first)));
  };
  for (const Line& line : lines) {
    const auto* results = std::get_if<KindResults>(&line.job.result);
    if (results == nullptr) continue;
    const std::string& figure = line.job.figure;
    // Each of these stands for its own kind.
    if (figure != "unseen") {
      same(line, firsts[figure == "elastic" ? "static" : figure], "kinds", kinds_of);
    }
    if (figure == "elastic" && !shape_of(*results).empty()) {
      same(line, routed[figure], "heads or kinds of features", shape_of);
    }
  }
}

}  // namespace

bool is_reproduction_folder(const std::string& folder) { return is_there(folder + "/" + kRecord); }

Reproduction read_reproduction(const std::string& folder) {
  const std::string path = folder + "/" + kRecord;
  const Json record = parse_json_strict(read_small_file(path, kLargest), path);
  if (text_in(record, "format") != "elastron-reproduction" || number_in(record, "version") != 1) {
    throw InputError("no record of a reproduction of version 1", path,
                     "give the folder that launch/reproduce.sh wrote");
  }
  Reproduction all{.path = folder,
                   .mode = text_in(record, "mode"),
                   .program = text_in(record, "program"),
                   .commit = text_in(record, "commit"),
                   .machine = text_in(record, "machine"),
                   .begun = text_in(record, "begun"),
                   .backbone = text_in(record, "backbone"),
                   .command = text_in(record, "command"),
                   .jobs = {}};
  std::vector<Line> lines = read_lines(folder + "/jobs.jsonl");
  for (Line& line : lines) read_result(line, folder);
  check_alike(lines);
  for (Line& line : lines) all.jobs.push_back(std::move(line.job));
  return all;
}

}  // namespace elastron::report

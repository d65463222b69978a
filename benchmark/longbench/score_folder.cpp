#include "benchmark/longbench/score_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>

#include "benchmark/longbench/rows.h"
#include "benchmark/longbench/sets.h"
#include "benchmark/mean_score.h"
#include "benchmark/scores/means.h"
#include "core/error.h"

namespace elastron::benchmark {

using Json = nlohmann::ordered_json;

namespace {

struct Bucket {
  const char* name;
  int64_t below;  // lengths
};
constexpr std::array<Bucket, 3> kBuckets = {
    {{"0-4k", 4000}, {"4-8k", 8000}, {"8k+", std::numeric_limits<int64_t>::max()}}};

struct SetScores {
  std::vector<double> rows;  // in the file's order
  std::array<std::vector<double>, kBuckets.size()> by_length;
  int64_t empty = 0;
  std::array<int64_t, kBuckets.size()> empty_by_length{};
  MeanScore mean;
};

size_t bucket_of_length(int64_t length) {
  size_t bucket = 0;
  while (bucket + 1 < kBuckets.size() && length >= kBuckets[bucket].below) ++bucket;
  return bucket;
}

size_t bucket_of(const LongBenchPrediction& row) {
  if (!row.length) {
    throw InputError("field 'length' is missing", row.where,
                     "LongBench-E needs it; without --e the rows are scored as LongBench");
  }
  return bucket_of_length(*row.length);
}

SetScores score_file(const LongBenchSet& set, const std::string& path, bool extended) {
  const auto rows = read_longbench_predictions(path);
  SetScores scores;
  for (const LongBenchPrediction& row : rows) {
    // The published program keeps the classes of the last row, for all of them.
    const double score =
        longbench_score(set, row.prediction, row.answers, rows.back().classes, row.where);
    scores.rows.push_back(score);
    scores.empty += row.prediction.empty();
    if (!extended) continue;
    const size_t bucket = bucket_of(row);
    scores.by_length[bucket].push_back(score);
    scores.empty_by_length[bucket] += row.prediction.empty();
  }
  scores.mean = mean_score(scores.rows, set.name);
  return scores;
}

std::optional<double> bucket_score(const std::vector<double>& scores) {
  if (scores.empty()) return {};
  return round_as_numpy(100 * mean_as_numpy(scores));
}

std::optional<double> set_score(const SetScores& scores) {
  if (scores.rows.empty()) return {};
  return round_as_python(100 * sum_in_order(scores.rows) / double(scores.rows.size()), 2);
}

Json buckets_json(const LongBenchSet& set, const SetScores& scores) {
  Json buckets = Json::object();
  for (size_t b = 0; b < kBuckets.size(); ++b) {
    const auto& rows = scores.by_length[b];
    Json bucket = mean_json(mean_score(rows, std::string(set.name) + " " + kBuckets[b].name));
    bucket["score"] = or_null(bucket_score(rows));
    bucket["rows"] = rows.size();
    bucket["empty"] = scores.empty_by_length[b];
    buckets[kBuckets[b].name] = bucket;
  }
  return buckets;
}

using ByName = std::map<std::string_view, SetScores>;

struct Group {
  MeanScore mean;
  std::vector<MeanScore> sets;
  std::vector<std::string> missing;
};

Group group_of(std::string_view name, const ByName& scored, bool extended) {
  Group group;
  for (const LongBenchSet& set : longbench_sets()) {
    if (set.group != name || (extended && !set.extended)) continue;
    const auto it = scored.find(set.name);
    group.sets.push_back(it == scored.end() ? MeanScore() : it->second.mean);
    if (it == scored.end()) group.missing.emplace_back(set.name);
  }
  group.mean = mean_of(group.sets);
  return group;
}

std::string set_line(const LongBenchSet& set, const SetScores& scores, bool extended) {
  std::string line =
      fmt::format("{:<22}{:>6}{:>7}{:>10}  {:<18}", set.name, scores.rows.size(), scores.empty,
                  shown(set_score(scores)), shown_interval(scores.mean));
  if (extended) {
    for (const auto& rows : scores.by_length) {
      line += fmt::format("{:>9}", shown(bucket_score(rows)));
    }
  }
  return line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

void add_groups(ScoredFolder& result, const ByName& scored, bool extended) {
  std::vector<MeanScore> groups, sets;
  const auto add_line = [&](std::string_view name, const MeanScore& mean) {
    std::string line =
        fmt::format("{:<35}{:>10}  {}", name, shown(mean.percent), shown_interval(mean));
    result.table += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  Json by_group = Json::object();
  for (const std::string_view name : longbench_groups()) {
    const Group group = group_of(name, scored, extended);
    groups.push_back(group.mean);
    sets.insert(sets.end(), group.sets.begin(), group.sets.end());
    by_group[std::string(name)] = mean_json(group.mean);
    by_group[std::string(name)]["missing"] = group.missing;
    add_line(name, group.mean);
  }
  const MeanScore of_groups = mean_of(groups), of_sets = mean_of(sets);
  result.details["groups"] = by_group;
  result.details["mean_of_groups"] = mean_json(of_groups);
  result.details["mean_of_sets"] = mean_json(of_sets);
  add_line(fmt::format("mean of the {} groups", groups.size()), of_groups);
  add_line(fmt::format("mean of the {} sets", sets.size()), of_sets);
}

}  // namespace

const char* longbench_bucket(int64_t length) { return kBuckets[bucket_of_length(length)].name; }

ScoredFolder score_longbench(const std::string& folder, bool extended,
                             const std::vector<std::string>& tasks) {
  const auto files = prediction_files(folder);
  check_tasks_are_there(tasks, files, folder);
  ByName scored;
  for (const PredictionPath& file : files) {
    if (!is_asked_for(tasks, file.name)) continue;
    const LongBenchSet& set = longbench_set(file.name, file.path);
    if (!scored.emplace(set.name, score_file(set, file.path, extended)).second) {
      throw InputError("two files of the set '" + file.name + "'", file.path, "keep one");
    }
  }
  ScoredFolder result;
  result.published = Json::object();
  result.details["benchmark"] = extended ? "longbench-e" : "longbench";
  result.table = fmt::format("{:<22}{:>6}{:>7}{:>10}  {:<18}", "set", "rows", "empty", "score",
                             "95 % interval");
  for (const Bucket& bucket : kBuckets) {
    if (extended) result.table += fmt::format("{:>9}", bucket.name);
  }
  result.table = result.table.substr(0, result.table.find_last_not_of(' ') + 1) + "\n";
  Json sets = Json::object();
  for (const LongBenchSet& set : longbench_sets()) {
    const auto it = scored.find(set.name);
    if (it == scored.end()) continue;
    const SetScores& scores = it->second;
    const std::string name(set.name);
    sets[name] = mean_json(scores.mean);
    sets[name]["rows"] = scores.rows.size();
    sets[name]["empty"] = scores.empty;
    result.published[name] = or_null(set_score(scores));
    if (extended) {
      sets[name]["buckets"] = buckets_json(set, scores);
      result.published[name] = Json::object();
      for (size_t b = 0; b < kBuckets.size(); ++b) {
        result.published[name][kBuckets[b].name] = or_null(bucket_score(scores.by_length[b]));
      }
    }
    result.table += set_line(set, scores, extended);
  }
  result.details["sets"] = sets;
  add_groups(result, scored, extended);
  return result;
}

}  // namespace elastron::benchmark

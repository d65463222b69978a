#include "report/inputs/input.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/error.h"
#include "core/file/input_file.h"

namespace elastron::report {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargest = uint64_t(64) << 20;

bool is_there(const std::string& path) {
  std::error_code unreadable_is_absent;
  return fs::exists(path, unreadable_is_absent);
}

Json read_json(const std::string& path) {
  return parse_json_strict(read_small_file(path, kLargest), path);
}

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw InputError(what, path,
                   "give a run's folder, the JSON file of eval --out, a folder of benchmark, "
                   "eval-reward or launch/reproduce.sh, or a file of score-heads");
}

bool all_have(const Json& list, const char* name) {
  return list.is_array() && !list.empty() && std::ranges::all_of(list, [&](const Json& row) {
           return row.is_object() && row.contains("gates") && row.contains(name) &&
                  row[name].is_object();
         });
}

Benchmark benchmark_of(const std::string& path, const Json& json) {
  return {.path = path,
          .benchmark = text_in(json, "benchmark"),
          .settings = object_in(json, "settings"),
          .results = object_in(json, "results"),
          .made_by = object_in(json, "made_by")};
}

BenchmarkComparison comparison_of(const std::string& path, Json json) {
  BenchmarkComparison comparison{.path = path, .runs = std::move(json)};
  for (const Json& run : comparison.runs) {
    const std::string gates = text_in(run, "gates");
    const fs::path part = fs::path(path).parent_path() / gates / "results.json";
    // The name is of a folder beside the file, and of none elsewhere.
    if (gates.empty() || fs::path(gates).filename() != gates || !is_there(part.string())) continue;
    comparison.parts.push_back(benchmark_of(part.string(), read_json(part.string())));
    comparison.parts.back().name = gates;
  }
  return comparison;
}

std::optional<HeadMap> heads_of(const std::string& path, const Json& json) {
  HeadMap map{.path = path};
  if (auto gates = matrix_of(json)) {
    map.maps.emplace_back("gate", std::move(*gates));
    return map;
  }
  if (text_in(json, "format") != "elastron-head-scores") return {};
  for (const auto& [name, of] : {std::pair{"kv_scores", "kv head"}, std::pair{"scores", "head"}}) {
    if (auto scores = matrix_of(list_in(json, name))) map.maps.emplace_back(of, std::move(*scores));
  }
  if (map.maps.empty()) return {};
  map.facts = json;
  return map;
}

Input input_of(const std::string& path, Json json) {
  if (all_have(json, "cells")) return comparison_of(path, std::move(json));
  if (all_have(json, "all")) return Evaluation{.path = path, .rows = json};
  if (all_have(Json::array({json}), "all")) return Evaluation{.path = path, .rows = {json}};
  if (json.is_object() && json.contains("judge") && !object_in(json, "total").empty()) {
    const auto beside = [&](const char* name) {
      const std::string file = (fs::path(path).parent_path() / name).string();
      return is_there(file) ? read_json(file) : Json::object();
    };
    return RewardReport{.path = path,
                        .summary = std::move(json),
                        .depends_on = beside("rows.meta.json"),
                        .made_by = beside("made_by.json")};
  }
  if (auto heads = heads_of(path, json)) return std::move(*heads);
  if (text_in(json, "benchmark").empty()) refuse(path, "JSON of a kind that no report is made of");
  Benchmark benchmark = benchmark_of(path, json);
  // The details of --score are one part of the others' results.
  if (!json.contains("results")) benchmark.results = {{"all", std::move(json)}};
  if (benchmark.benchmark != "perplexity") return benchmark;
  return Perplexity{.path = path,
                    .settings = benchmark.settings,
                    .results = std::move(benchmark.results),
                    .made_by = std::move(benchmark.made_by)};
}

Input read_folder(const std::string& folder) {
  if (is_reproduction_folder(folder)) return read_reproduction(folder);
  if (is_run_folder(folder)) return read_run(folder);
  for (const char* name : {"compare.json", "results.json", "summary.json"}) {
    const std::string file = folder + "/" + name;
    if (is_there(file)) return input_of(file, read_json(file));
  }
  if (is_there(folder + "/rows.jsonl") || is_there(folder + "/figures")) {
    refuse(folder, "what was asked for is not finished: there is no summary yet");
  }
  refuse(folder, "the folder has neither a run nor results");
}

std::string without_end_slash(const std::string& path) {
  const fs::path normal = fs::path(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).string();
}

// Paths without the folders that all of them are in; of one, its last part.
std::vector<std::string> names_of(const std::vector<std::string>& paths) {
  std::vector<fs::path> parts;
  for (const std::string& path : paths) parts.emplace_back(without_end_slash(path));
  const auto shared = [&] {
    return std::ranges::all_of(parts, [&](const fs::path& p) {
      return std::distance(p.begin(), p.end()) > 1 && *p.begin() == *parts[0].begin();
    });
  };
  while (shared()) {
    for (fs::path& p : parts) {
      fs::path rest;
      for (auto part = std::next(p.begin()); part != p.end(); ++part) rest /= *part;
      p = rest;
    }
  }
  std::vector<std::string> names;
  for (const fs::path& p : parts) names.push_back(p.string());
  return names;
}

}  // namespace

Input read_input(const std::string& path) {
  std::error_code error;
  if (!is_there(path)) refuse(path, "there is no such file or folder");
  if (fs::is_directory(path, error)) return read_folder(path);
  return input_of(path, read_json(path));
}

std::vector<Input> read_inputs(const std::vector<std::string>& paths) {
  const std::vector<std::string> names = names_of(paths);
  std::vector<Input> inputs;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (std::ranges::count(names, names[i]) > 1) {
      throw UsageError("given twice", paths[i], "name each run and file once");
    }
    inputs.push_back(read_input(without_end_slash(paths[i])));
    std::visit([&](auto& input) { input.name = names[i]; }, inputs.back());
  }
  return inputs;
}

}  // namespace elastron::report

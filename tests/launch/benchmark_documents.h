// Questions that the shipped backbone can answer, in the words of the synthetic tasks, for tests of
// elastron benchmark, and what came of them.
#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/launch/program.h"

namespace elastron::test {

inline const std::string kModel = std::string(ELASTRON_SOURCE_DIR) + "/configs/tiny/backbone";
inline const std::string kRouting =
    " --set router.ssa.sink=16 --set router.ssa.local=32 --set router.ssa.block=16";

inline std::vector<nlohmann::json> lines_of(const std::string& text) {
  std::vector<nlohmann::json> rows;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

// Documents of the synthetic tasks, in whose words the backbone was trained.
inline std::vector<nlohmann::json> documents(const std::string& kind, int words, int records) {
  const Scratch scratch;
  const Outcome made =
      elastron(0, "synthesize --out " + (scratch / "r.jsonl") + " --kind " + kind + " --length " +
                      std::to_string(words) + " --records " + std::to_string(records));
  EXPECT_EQ(made.code, 0) << made.err;
  return lines_of(read_text(scratch / "r.jsonl"));
}

// Predictions and published results by path, of which no byte may depend on how they came about.
inline std::map<std::string, std::string> made_by(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (!entry.is_regular_file() || path.find("/figures/") != path.npos ||
        path.ends_with("results.json")) {
      continue;
    }
    files[path.substr(folder.size())] = read_text(path);
  }
  return files;
}

}  // namespace elastron::test

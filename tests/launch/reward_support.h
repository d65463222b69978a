// What the tests of reward models share.
#pragma once
#include <filesystem>
#include <string>

#include "tests/launch/program.h"

namespace elastron::test {

namespace fs = std::filesystem;

inline const std::string kConfig = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/reward.yaml";

// Of a short run with the backbone of random weights.
inline std::string arguments(const std::string& folder, const std::string& more = "") {
  return "train " + kConfig + " --set model.path=" + tiny_backbone() +
         " --set output.dir=" + folder + " " + more;
}

// The files of an evaluation.
inline std::string report(const std::string& out) {
  return read_text(out + "/rows.jsonl") + read_text(out + "/results.csv") +
         read_text(out + "/summary.json") + read_text(out + "/accuracy.svg");
}

struct Layout {
  int ranks, tensor;
};

inline std::string tensor(const Layout& l) {
  return " --set parallel.tensor=" + std::to_string(l.tensor);
}

}  // namespace elastron::test

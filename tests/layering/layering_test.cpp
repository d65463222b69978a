// Reads every #include of the sources and fails on one that points upward (docs/architecture.md).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;

// A folder may include itself and what is listed for it.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"core", {}},
    {"ops", {"core"}},
    {"parallel", {"core", "ops"}},
    {"data", {"core"}},
    {"router", {"core", "ops", "parallel"}},
    {"model", {"core", "ops", "parallel", "data", "router"}},
    {"reward", {"core", "ops", "parallel", "data", "router", "model"}},
    {"train", {"core", "ops", "parallel", "data", "router", "model", "reward"}},
    {"launch", {"core", "ops", "parallel", "data", "router", "model", "reward", "train"}},
};

// Libraries that only one folder may know.
const std::map<std::string, std::string> kLibraryHome = {
    {"mpi.h", "parallel"},  {"hdf5.h", "core"}, {"yaml-cpp/", "core"}, {"glog/", "core"},
    {"nccl.h", "parallel"}, {"dnnl", "ops"},    {"xxhash.h", "core"},  {"cublas", "ops"},
    {"cudnn", "ops"},       {"CLI/", "launch"},
};

// What takes seconds to compile is for few files, and for no header that others include.
const std::map<std::string, std::set<std::string>> kOnlyIn = {
    {"CLI/CLI.hpp", {"launch/command_line.cpp", "launch/main.cpp"}},
    {"core/config/schema.h",
     {"data/config.cpp", "reward/config.cpp", "router/config.cpp", "train/config.cpp",
      "train/plan/device_spec.cpp"}},
};

bool is_source(const fs::path& path) {
  return path.extension() == ".h" || path.extension() == ".cpp" || path.extension() == ".cu" ||
         path.extension() == ".cuh";
}

TEST(Layering, IncludesPointDownward) {
  const std::regex include(R"re(^\s*#\s*include\s*["<]([^">]+)[">])re");
  int files = 0;
  for (const auto& [folder, allowed] : kMayInclude) {
    for (const auto& entry :
         fs::recursive_directory_iterator(fs::path(ELASTRON_SOURCE_DIR) / folder)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      ++files;
      std::ifstream in(entry.path());
      std::string line;
      for (int number = 1; std::getline(in, line); ++number) {
        std::smatch match;
        if (!std::regex_search(line, match, include)) continue;
        const std::string target = match[1];
        const std::string where = entry.path().string() + ":" + std::to_string(number);
        const std::string top = target.substr(0, target.find('/'));
        if (kMayInclude.contains(top)) {
          EXPECT_TRUE(top == folder || allowed.contains(top)) << where << " includes " << target;
        }
        for (const auto& [library, home] : kLibraryHome) {
          if (target.starts_with(library)) {
            EXPECT_EQ(folder, home) << where << " includes " << target;
          }
        }
        if (const auto few = kOnlyIn.find(target); few != kOnlyIn.end()) {
          const std::string file = fs::relative(entry.path(), ELASTRON_SOURCE_DIR).string();
          EXPECT_TRUE(few->second.contains(file)) << where << " includes " << target;
        }
        EXPECT_FALSE(target.starts_with("..")) << where << " includes " << target;
      }
    }
  }
  EXPECT_GT(files, 50);
}

}  // namespace

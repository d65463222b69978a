// Reads every #include of the sources and fails on one that points upward, or that a library's
// folder keeps to itself (docs/architecture.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

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
    {"inference", {"core", "ops", "parallel", "data", "router", "model"}},
    {"serving", {"core", "parallel", "data", "inference"}},
    {"benchmark", {"core", "ops", "parallel", "data", "router", "model", "inference"}},
    {"reward", {"core", "ops", "parallel", "data", "router", "model", "inference"}},
    {"train", {"core", "ops", "parallel", "data", "router", "model", "inference", "reward"}},
    {"report",
     {"core", "ops", "parallel", "data", "router", "model", "inference", "reward", "train"}},
    {"launch",
     {"core", "ops", "parallel", "data", "router", "model", "inference", "serving", "benchmark",
      "reward", "train", "report"}},
};

// Headers by how their names begin, and the files by how their paths begin that may include them.
struct Guard {
  std::string header;
  std::set<std::string> homes;
  bool through_others = false;  // nor may other files reach it through headers of ours
};
const std::vector<Guard> kGuards = {
    {"mpi.h", {"parallel/"}},
    {"nccl.h", {"parallel/"}},
    {"hdf5.h", {"core/"}},
    {"yaml-cpp/", {"core/"}},
    {"glog/", {"core/"}},
    {"xxhash.h", {"core/"}},
    {"Random123/", {"core/"}},
    {"dnnl", {"ops/"}},
    {"cublas", {"ops/"}},
    {"cudnn", {"ops/"}},
    {"cuda.h", {"core/cuda/", "ops/cuda/"}, true},
    {"cuda_", {"core/cuda/", "ops/cuda/"}, true},
    {"pcre2", {"data/tokenizer/"}, true},
    {"httplib.h", {"serving/http_server.cpp"}, true},
    // What takes seconds to compile is for few files, and for no header that others include.
    {"CLI/", {"launch/command_line.cpp", "launch/main.cpp"}, true},
    {"core/config/schema.h",
     {"data/config.cpp", "reward/config.cpp", "router/config.cpp", "train/config.cpp",
      "train/plan/device_spec.cpp"},
     true},
};

struct Include {
  std::string target;
  int line = 0;
};
// By a file's path below the sources.
using Includes = std::map<std::string, std::vector<Include>>;

std::vector<Include> includes_of(std::istream& in) {
  static const std::regex include(R"re(^\s*#\s*include\s*["<]([^">]+)[">])re");
  std::vector<Include> found;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    std::smatch match;
    if (std::regex_search(line, match, include)) found.push_back({match[1], number});
  }
  return found;
}

std::string folder_of(const std::string& path) { return path.substr(0, path.find('/')); }

bool may_include(const Guard& guard, const std::string& file) {
  return std::ranges::any_of(guard.homes,
                             [&](const std::string& home) { return file.starts_with(home); });
}

// The headers of ours that bring the guarded one in.
std::set<std::string> carriers(const Guard& guard, const Includes& files) {
  std::set<std::string> found;
  size_t before = 0;
  do {
    before = found.size();
    for (const auto& [file, includes] : files) {
      const bool brings = std::ranges::any_of(includes, [&](const Include& i) {
        return i.target.starts_with(guard.header) || found.contains(i.target);
      });
      if (brings) found.insert(file);
    }
  } while (found.size() != before);
  return found;
}

std::vector<std::string> faults(const Includes& files) {
  std::vector<std::string> found;
  const auto fault = [&](const std::string& file, const Include& i) {
    found.push_back(file + ":" + std::to_string(i.line) + " includes " + i.target);
  };
  for (const auto& [file, includes] : files) {
    const std::string folder = folder_of(file);
    for (const Include& i : includes) {
      const std::string top = folder_of(i.target);
      const bool upward =
          kMayInclude.contains(top) && top != folder && !kMayInclude.at(folder).contains(top);
      if (upward || i.target.starts_with("..")) fault(file, i);
    }
  }
  for (const Guard& guard : kGuards) {
    const auto through = guard.through_others ? carriers(guard, files) : std::set<std::string>();
    for (const auto& [file, includes] : files) {
      if (may_include(guard, file)) continue;
      for (const Include& i : includes) {
        if (i.target.starts_with(guard.header) || through.contains(i.target)) fault(file, i);
      }
    }
  }
  return found;
}

bool is_source(const fs::path& path) {
  static const std::set<std::string> extensions = {".h", ".cpp", ".cu", ".cuh"};
  return extensions.contains(path.extension().string());
}

Includes read_sources() {
  Includes files;
  const fs::path root = ELASTRON_SOURCE_DIR;
  for (const auto& [folder, allowed] : kMayInclude) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      std::ifstream in(entry.path());
      files[fs::relative(entry.path(), root).string()] = includes_of(in);
    }
  }
  return files;
}

TEST(Layering, IncludesPointDownward) {
  for (const std::string& fault : faults(read_sources())) ADD_FAILURE() << fault;
}

// The sources of all targets below the folders, as CMake has them: none is passed over, and no
// folder of sources is without a rule.
TEST(Layering, EverySourceIsRead) {
  const Includes files = read_sources();
  std::ifstream list(ELASTRON_SOURCES_LIST);
  std::set<std::string> folders;
  for (std::string source; std::getline(list, source);) {
    EXPECT_TRUE(files.contains(source)) << source << ": give its folder a rule in kMayInclude";
    folders.insert(folder_of(source));
  }
  for (const auto& [folder, allowed] : kMayInclude) {
    EXPECT_TRUE(folders.contains(folder)) << folder << " has no sources";
  }
}

TEST(Layering, EachRuleBites) {
  const auto count = [](const Includes& files) { return faults(files).size(); };
  EXPECT_EQ(count({{"model/a.cpp", {{"ops/b.h", 1}, {"model/c.h", 2}, {"vector", 3}}}}), 0u);
  EXPECT_EQ(count({{"ops/a.cpp", {{"model/b.h", 1}}}}), 1u);
  EXPECT_EQ(count({{"model/a.cpp", {{"inference/b.h", 1}}}}), 1u);
  EXPECT_EQ(count({{"inference/a.cpp", {{"train/config.h", 1}}}}), 1u);
  EXPECT_EQ(count({{"ops/a.cpp", {{"../core/b.h", 1}}}}), 1u);
  for (const Guard& guard : kGuards) {
    const std::string home = *guard.homes.begin();
    const std::string inside = home.ends_with('/') ? home + "a.cpp" : home;
    const std::string header = guard.header + (guard.header.ends_with(".h") ? "" : "x.h");
    EXPECT_EQ(count({{inside, {{header, 1}}}}), 0u) << header;
    EXPECT_EQ(count({{"train/a.cpp", {{header, 1}}}}), 1u) << header;
    if (!guard.through_others) continue;
    // A header of the library's own folder that lets it out, at one remove.
    const std::string carrier = home.substr(0, home.rfind('/') + 1) + "carrier.h";
    const Includes leak = {{carrier, {{"ops/cuda/x.h", 1}, {header, 2}}},
                           {"launch/between.h", {{carrier, 3}}},
                           {"launch/a.cpp", {{"launch/between.h", 4}}}};
    const auto found = faults(leak);
    EXPECT_TRUE(std::ranges::find(found, "launch/a.cpp:4 includes launch/between.h") != found.end())
        << header;
  }
  std::istringstream text("#include <a.h>\n// #include <b.h>\n  # include \"c/d.h\"\n");
  const auto read = includes_of(text);
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[1].target, "c/d.h");
  EXPECT_EQ(read[1].line, 3);
}

}  // namespace

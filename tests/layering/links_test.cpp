// Links of the pages lead somewhere: to files that are here, and to headings that these have.
#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The anchor that a heading has on the usual hosts: letters, digits and hyphens, in lower case.
std::string anchor_of(const std::string& heading) {
  std::string anchor;
  for (const char c : heading) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '_' || byte >= 0x80) {
      anchor += char(std::tolower(byte));
    } else if (c == ' ') {
      anchor += '-';
    }
  }
  return anchor;
}

std::set<std::string> anchors_of(const std::string& page) {
  std::set<std::string> anchors;
  std::istringstream in(page);
  bool code = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("```")) code = !code;
    const size_t marks = line.find_first_not_of('#');
    if (code || marks == 0 || marks == std::string::npos || line[marks] != ' ') continue;
    anchors.insert(anchor_of(line.substr(marks + 1)));
  }
  static const std::regex named(R"re(<a name="([^"]+)">)re");
  for (auto it = std::sregex_iterator(page.begin(), page.end(), named);
       it != std::sregex_iterator(); ++it) {
    anchors.insert((*it)[1]);
  }
  return anchors;
}

// -> what is wrong with the links of a page, which stands in `folder`.
std::vector<std::string> broken_links(const std::string& page, const fs::path& folder) {
  static const std::regex link(R"(\]\(([^)\s]+)\))");
  std::vector<std::string> broken;
  for (auto it = std::sregex_iterator(page.begin(), page.end(), link); it != std::sregex_iterator();
       ++it) {
    const std::string target = (*it)[1];
    if (target.find("://") != std::string::npos || target.starts_with("mailto:")) continue;
    const size_t hash = target.find('#');
    const std::string file = target.substr(0, hash);
    const fs::path path = folder / file;
    if (!file.empty() && !fs::exists(path)) {
      broken.push_back(target + ": there is no such file");
    } else if (hash != std::string::npos) {
      const std::string there = file.empty() ? page : read(path);
      if (!anchors_of(there).contains(target.substr(hash + 1))) {
        broken.push_back(target + ": there is no such heading");
      }
    }
  }
  return broken;
}

TEST(Links, LeadSomewhere) {
  const fs::path root = ELASTRON_SOURCE_DIR;
  int pages = 0;
  const auto check = [&](const fs::path& path) {
    if (path.extension() != ".md") return;
    ++pages;
    for (const std::string& what : broken_links(read(path), path.parent_path())) {
      ADD_FAILURE() << path.string() << ": " << what;
    }
  };
  for (const auto& entry : fs::directory_iterator(root)) check(entry.path());
  for (const char* folder : {".github", "bench", "configs", "docs", "launch", "reward", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) check(entry.path());
  }
  EXPECT_GT(pages, 20);  // they were found
}

// The test above on links that are broken.
TEST(Links, WhatLeadsNowhereIsFound) {
  const fs::path docs = fs::path(ELASTRON_SOURCE_DIR) / "docs";
  const std::string page = "# A page\n## One run, one folder\n```\n# not a heading\n```\n";
  for (const char* good : {"[x](#one-run-one-folder)", "[x](method.md#one-pass)",
                           "[x](../README.md)", "[x](https://a.b/c#d)"}) {
    EXPECT_TRUE(broken_links(page + good, docs).empty()) << good;
  }
  for (const char* bad : {"[x](#one-run)", "[x](#not-a-heading)", "[x](lost.md)",
                          "[x](method.md#two-passes)", "[x](README.md/lost)"}) {
    EXPECT_EQ(broken_links(page + bad, docs).size(), 1U) << bad;
  }
}

}  // namespace

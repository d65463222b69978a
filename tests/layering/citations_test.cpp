// Comments cite only what a reader of this repository has: pages of docs/ that exist, and sections
// of docs/method.md by their names.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Fault {
  size_t offset = 0;
  std::string what;
};

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// A citation may go on in the next line of a comment: line ends with what follows of indentation
// and comment marks become blanks, of which there are as many, so that offsets stay.
std::string in_one_line(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n') continue;
    for (; i < text.size() && std::string_view("\n\r\t /#*").find(text[i]) != std::string::npos;
         ++i)
      text[i] = ' ';
    --i;
  }
  return std::regex_replace(text, std::regex("\t"), " ");
}

// Names of a page's sections, longest first.
std::vector<std::string> sections_of(const std::string& page) {
  std::vector<std::string> names;
  std::istringstream in(page);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ") || line.starts_with("### ")) {
      names.push_back(line.substr(line.find(' ') + 1));
    }
  }
  std::ranges::sort(names, std::greater<>(), &std::string::size);
  return names;
}

// What follows a page's name, as "docs/page.md, Section one and Section two": its sections must
// exist. Of method.md a section must be named wherever it is cited.
void check_page(const std::string& text, size_t at, const std::string& name,
                const std::string& page, std::vector<Fault>& faults) {
  size_t next = text.find_first_not_of(' ', at);
  const bool named = next != std::string::npos && text[next] == ',';
  if (!named) return;
  next = text.find_first_not_of(' ', next + 1);
  if (next == std::string::npos || !std::isupper(static_cast<unsigned char>(text[next]))) return;
  for (const std::string& section : sections_of(page)) {
    std::string words = section;  // blanks between words may be several, from a line's end
    words = std::regex_replace(words, std::regex(R"([.*+?()\[\]{}|\\^$])"), R"(\$&)");
    words = std::regex_replace(words, std::regex(" "), " +");
    std::smatch match;
    const auto begin = text.begin() + std::ptrdiff_t(next);
    if (std::regex_search(begin, text.end(), match, std::regex(words + R"((?![A-Za-z0-9-]))"),
                          std::regex_constants::match_continuous)) {
      return;
    }
  }
  faults.push_back({at, name + " has no section \"" + text.substr(next, 30) + "\""});
}

// `page_text` gives a page of docs/ by its file name, or nothing where there is none.
std::vector<Fault> faults_of(const std::string& source,
                             const std::function<std::string(const std::string&)>& page_text) {
  const std::string text = in_one_line(source);
  std::vector<Fault> faults;
  static const std::regex page(R"(docs/([A-Za-z0-9_-]+\.md))");
  for (auto it = std::sregex_iterator(text.begin(), text.end(), page); it != std::sregex_iterator();
       ++it) {
    const size_t at = size_t(it->position() + it->length());
    const std::string found = page_text((*it)[1]);
    if (found.empty()) {
      faults.push_back({at, (*it)[0].str() + " does not exist"});
    } else {
      check_page(text, at, (*it)[0], found, faults);
    }
  }
  // Numbered sections of documents that are not here.
  static const std::regex elsewhere(
      R"(\b[Ss]pec(ification)? +[0-9]|-reward spec|\b[Dd]esign +[A-Z]\.[0-9]|[(;] *floors\b)");
  for (auto it = std::sregex_iterator(text.begin(), text.end(), elsewhere);
       it != std::sregex_iterator(); ++it) {
    faults.push_back({size_t(it->position()), "cites \"" + (*it)[0].str() + "\""});
  }
  return faults;
}

std::string page_of_this_repository(const std::string& name) {
  return read(fs::path(ELASTRON_SOURCE_DIR) / "docs" / name);
}

bool is_text(const fs::path& path) {
  static const std::vector<std::string> kinds = {".h",  ".cpp",  ".cu",    ".cuh", ".py",
                                                 ".sh", ".yaml", ".cmake", ".txt", ".in"};
  return std::ranges::find(kinds, path.extension().string()) != kinds.end();
}

TEST(Citations, EveryDocumentThatCommentsCiteIsHere) {
  const fs::path root = ELASTRON_SOURCE_DIR;
  int cited = 0;
  for (const char* folder :
       {"bench", "cmake", "configs", "core", "data", "inference", "launch", "model", "ops",
        "parallel", "report", "reward", "router", "serving", "tests", "train"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const fs::path& path = entry.path();
      if (!entry.is_regular_file() || !is_text(path) || path.filename() == "citations_test.cpp") {
        continue;
      }
      const std::string text = read(path);
      cited += text.find("docs/method.md, ") != std::string::npos;
      for (const Fault& fault : faults_of(text, page_of_this_repository)) {
        const auto line =
            1 + std::count(text.begin(), text.begin() + std::ptrdiff_t(fault.offset), '\n');
        ADD_FAILURE() << path.string() << ":" << line << " " << fault.what;
      }
    }
  }
  EXPECT_GT(cited, 40);  // the files were found, and cite
}

// The test above on texts that are wrong.
TEST(Citations, WhatIsNotHereIsFound) {
  const auto page = [](const std::string& name) {
    return std::string(name == "method.md" ? "# Method\n\n## One pass\n\n## Hard gate\n" : "");
  };
  for (const char* good :
       {"// (docs/method.md, One pass).", "// docs/method.md, One\n// pass: text",
        "# docs/method.md, Hard gate and One pass", "// docs/method.md says", "int spec = 3;"}) {
    EXPECT_TRUE(faults_of(good, page).empty()) << good;
  }
  for (const char* bad :
       {"// (docs/method.md, Two passes)", "// docs/method.md,\n  // Hard", "// docs/lost.md",
        "// (docs/method.md, One passage)", "// as spec 3.4 says", "// (spec\n// 3.4)",
        "// the memory-reward spec", "// (design A.5)", "// (floors, section 1)"}) {
    EXPECT_EQ(faults_of(bad, page).size(), 1U) << bad;
  }
}

}  // namespace

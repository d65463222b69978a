#include "data/file_list.h"

#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/file/exists.h"
#include "core/log.h"

namespace elastron::data {

namespace {

namespace fs = std::filesystem;

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::vector<std::string> inside(const std::string& folder, const std::string& extension,
                                const std::string& key) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.ends_with(extension) && !name.starts_with('.') && !is_folder(at->path().string())) {
      files.push_back(at->path().string());
    }
  }
  if (error) {
    throw InputError("the folder cannot be read: " + error.message(), key + ": " + folder,
                     "check the path and its permissions");
  }
  if (files.empty()) {
    throw InputError("the folder has no " + extension + " files", key + ": " + folder,
                     "name files, or a folder with some");
  }
  std::ranges::sort(files);
  return files;
}

std::vector<std::string> matches(const std::string& pattern, const std::string& key) {
  glob_t found{};
  const int result = glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> files;
  if (result == 0) files.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  if (files.empty()) {
    throw InputError("no file matches", key + ": " + pattern, "correct the pattern or the path");
  }
  std::ranges::sort(files);
  return files;
}

// It may be meant, as a weight; or a name, a link or a pattern took in more than it should.
void warn_of_repeats(const std::vector<std::string>& files, const std::string& key) {
  std::set<std::pair<dev_t, ino_t>> known;
  std::string first;
  size_t repeats = 0;
  for (const std::string& path : files) {
    struct stat file {};
    if (stat(path.c_str(), &file) != 0 || known.insert({file.st_dev, file.st_ino}).second) continue;
    if (repeats++ == 0) first = path;
  }
  if (repeats == 0) return;
  log_warning_once(
      fmt::format("{}: {} is read more than once{}: its records count each time", key, first,
                  repeats == 1 ? std::string()
                               : fmt::format(", and so are others ({} repeats in all)", repeats)));
}

}  // namespace

std::vector<std::string> data_files(const std::vector<std::string>& names,
                                    const std::string& extension, const std::string& key) {
  std::vector<std::string> files;
  for (const std::string& name : names) {
    const bool pattern = name.find_first_of("*?[") != name.npos && !exists(name);
    for (const std::string& found : pattern ? matches(name, key) : std::vector{name}) {
      if (is_folder(found)) {
        const auto all = inside(found, extension, key);
        files.insert(files.end(), all.begin(), all.end());
      } else {
        files.push_back(found);
      }
    }
  }
  warn_of_repeats(files, key);
  return files;
}

}  // namespace elastron::data

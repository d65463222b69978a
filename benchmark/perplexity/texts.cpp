#include "benchmark/perplexity/texts.h"

#include <algorithm>
#include <filesystem>

#include "benchmark/json_rows.h"
#include "core/error.h"
#include "core/file/input_file.h"
#include "core/utf8.h"

namespace elastron::benchmark {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargestText = uint64_t(256) << 20;

std::vector<std::string> files_of(const std::string& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".txt" || extension == ".jsonl") files.push_back(entry.path().string());
  }
  std::ranges::sort(files);
  if (error || files.empty()) {
    throw InputError("no files of text", path, "give a folder with .txt or .jsonl files");
  }
  return files;
}

}  // namespace

std::vector<TokenisedText> read_texts(const std::string& path, const data::Tokenizer& tokenizer,
                                      const std::vector<int32_t>& leading, int64_t most) {
  std::vector<TokenisedText> texts;
  const auto add = [&](std::string name, const std::string& text) {
    TokenisedText& added = texts.emplace_back(TokenisedText{std::move(name), leading});
    const std::vector<int32_t> ids = tokenizer.encode(text);
    const auto left = size_t(std::max<int64_t>(most - int64_t(leading.size()), 0));
    added.ids.insert(added.ids.end(), ids.begin(),
                     ids.begin() + std::ptrdiff_t(std::min(left, ids.size())));
  };
  for (const std::string& file : files_of(path)) {
    if (file.ends_with(".txt")) {
      const std::string text = read_small_file(file, kLargestText);
      if (const auto at = first_invalid_utf8(text)) {
        throw InputError("text that is not UTF-8 at byte " + std::to_string(*at), file,
                         "convert it to UTF-8");
      }
      add(fs::path(file).filename().string(), text);
      continue;
    }
    int64_t row = 0;
    for_each_row(file, [&](const nlohmann::json& object, const std::string& where) {
      add(fs::path(file).filename().string() + ", row " + std::to_string(++row),
          JsonFields(object, where, "give lines with a field text").text("text"));
    });
  }
  if (texts.empty()) throw InputError("no texts", path, "give some");
  return texts;
}

}  // namespace elastron::benchmark

#include "model/weights/stop_tokens.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/file/exists.h"
#include "core/file/input_file.h"

namespace elastron::model {

namespace {

using Json = nlohmann::json;

constexpr size_t kLongestText = size_t(64) << 20;

std::optional<Json> read_object(const std::string& path) {
  if (!exists(path)) return {};
  Json root = parse_json_strict(read_small_file(path, kLongestText), path);
  if (!root.is_object()) return {};
  return root;
}

// The id that a list of added tokens gives `token`; entries of either file's form.
std::optional<int64_t> id_of(const Json& token, const Json& root) {
  if (root.contains("added_tokens_decoder") && root["added_tokens_decoder"].is_object()) {
    for (const auto& [id, entry] : root["added_tokens_decoder"].items()) {
      const bool number = !id.empty() && id.size() < 10 &&
                          std::ranges::all_of(id, [](char c) { return c >= '0' && c <= '9'; });
      if (number && entry.is_object() && entry.value("content", Json()) == token) {
        return std::stoll(id);
      }
    }
  }
  if (root.contains("added_tokens") && root["added_tokens"].is_array()) {
    for (const Json& entry : root["added_tokens"]) {
      if (entry.is_object() && entry.value("content", Json()) == token && entry.contains("id") &&
          entry["id"].is_number_unsigned()) {
        return entry["id"].get<int64_t>();
      }
    }
  }
  return {};
}

}  // namespace

std::vector<int32_t> read_end_tokens(const ConfigReader& config, int64_t vocab_size) {
  const char* key = "eos_token_id";
  if (!config.has(key)) return {};
  if (!config.at(key).is_array()) return {int32_t(config.integer(key, 0, vocab_size - 1))};
  std::vector<int32_t> ids;
  for (const Json& id : config.at(key)) {
    ids.push_back(int32_t(config.whole_number(id, key, 0, vocab_size - 1)));
  }
  return ids;
}

std::vector<int32_t> generation_end_tokens(const std::string& folder, int64_t vocab_size) {
  const std::string path = folder + "/generation_config.json";
  const auto root = read_object(path);
  return root ? read_end_tokens(ConfigReader(*root, path), vocab_size) : std::vector<int32_t>{};
}

std::vector<int32_t> tokenizer_end_tokens(const std::string& folder, int64_t vocab_size) {
  const auto settings = read_object(folder + "/tokenizer_config.json");
  if (!settings || !settings->contains("eos_token")) return {};
  Json token = (*settings)["eos_token"];
  if (token.is_object()) token = token.value("content", Json());
  if (!token.is_string()) return {};
  auto id = id_of(token, *settings);
  if (!id) {
    const auto tokenizer = read_object(folder + "/tokenizer.json");
    if (tokenizer) id = id_of(token, *tokenizer);
  }
  if (!id || *id >= vocab_size) return {};
  return {int32_t(*id)};
}

}  // namespace elastron::model

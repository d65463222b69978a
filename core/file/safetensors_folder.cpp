#include "core/file/safetensors_folder.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/file/exists.h"
#include "core/json.h"
#include "core/misfits.h"

namespace elastron {

namespace {

constexpr size_t kLongestIndex = size_t(64) << 20;

// A shard name from an index is a plain file name: it must not leave the folder.
bool plain_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' &&
         std::ranges::none_of(
             name, [](unsigned char c) { return c == '/' || c == '\\' || c < 0x20 || c == 0x7f; });
}

}  // namespace

SafetensorsFolder::SafetensorsFolder(const std::string& path) : path_(path) {
  const std::string index_path = path + "/" + kIndex;
  if (!exists(path + "/" + kWeights) && exists(index_path)) {
    open_indexed(index_path);
  } else {
    const SafetensorsFile& file = open(kWeights);
    for (const auto& [tensor, entry] : file.entries()) homes_.emplace(tensor, &file);
  }
}

const SafetensorsFile& SafetensorsFolder::open(const std::string& name) {
  const std::string file_path = path_ + "/" + name;
  if (!exists(file_path)) refuse_missing(file_path);
  return *files_.emplace_back(std::make_unique<SafetensorsFile>(file_path));
}

// Names what lies there instead, since that may say what to do.
void SafetensorsFolder::refuse_missing(const std::string& file_path) const {
  std::string shard, pickled;
  std::error_code unreadable_is_empty;
  for (const auto& entry : std::filesystem::directory_iterator(path_, unreadable_is_empty)) {
    const std::string name = entry.path().filename().string();
    const bool numbered = name.find("-of-") != name.npos;
    if (numbered && name.ends_with(".safetensors")) shard = std::max(shard, name);
    if (name.starts_with("pytorch_model") || name.ends_with(".bin") || name.ends_with(".pth")) {
      pickled = std::max(pickled, name);
    }
  }
  std::string todo = "use a complete model folder, or set model.weights: random";
  if (!exists(path_ + "/" + kIndex) && !shard.empty()) {
    todo = "shards such as " + shard + " need " + kIndex + ": copy it too";
  } else if (!pickled.empty()) {
    todo = pickled +
           " is not read: save the model with the transformers library "
           "(save_pretrained writes safetensors)";
  }
  throw InputError("the weight file is missing", file_path, todo);
}

void SafetensorsFolder::open_indexed(const std::string& index_path) {
  const auto index = parse_json_strict(read_small_file(index_path, kLongestIndex), index_path,
                                       {.max_bytes = kLongestIndex, .max_depth = 8});
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw InputError("'weight_map' is missing", index_path, "use a complete model folder");
  }
  std::map<std::string, std::set<std::string>> tensors_of;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || !plain_file_name(file.get_ref<const std::string&>())) {
      throw InputError(
          "the file of tensor " + nlohmann::json(tensor).dump() + " is not a plain file name",
          index_path, "use an index whose files lie in the folder");
    }
    tensors_of[file.get<std::string>()].insert(tensor);
  }
  Misfits misfits;
  for (const auto& [name, tensors] : tensors_of) {
    const SafetensorsFile& file = open(name);
    for (const std::string& tensor : tensors) {
      if (file.entries().contains(tensor)) {
        homes_.emplace(tensor, &file);
      } else {
        misfits.of("missing").push_back(tensor + " in " + name);
      }
    }
    for (const auto& [tensor, entry] : file.entries()) {
      if (!tensors.contains(tensor)) misfits.of("unexpected").push_back(tensor + " in " + name);
    }
  }
  misfits.throw_if_any("the index does not fit the files", index_path,
                       "use weights and config.json of one model");
}

}  // namespace elastron

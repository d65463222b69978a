// The weights of a folder: model.safetensors, or shards with model.safetensors.index.json.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/file/safetensors.h"

namespace elastron {

// Where tensors lie, by name.
using TensorHomes = std::map<std::string, const SafetensorsFile*>;

class SafetensorsFolder {
 public:
  static constexpr const char* kWeights = "model.safetensors";
  static constexpr const char* kIndex = "model.safetensors.index.json";

  // Opens the files and checks headers; reads no data. As in the transformers library,
  // model.safetensors wins over an index. Throws InputError: a file that is missing, an index whose
  // files are not plain names in the folder (symbolic links are followed, as the Hugging Face cache
  // needs), or that says something else than the files do.
  explicit SafetensorsFolder(const std::string& path);

  const TensorHomes& homes() const { return homes_; }

 private:
  void open_indexed(const std::string& index_path);
  const SafetensorsFile& open(const std::string& name);
  [[noreturn]] void refuse_missing(const std::string& file_path) const;

  std::string path_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  TensorHomes homes_;
};

}  // namespace elastron

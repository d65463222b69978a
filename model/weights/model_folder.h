// A Hugging Face model folder: config.json, model.safetensors (or shards with an index), tokenizer.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/file/safetensors.h"
#include "core/parameter.h"
#include "model/weights/model_config.h"

namespace elastron::model {

class ModelFolder {
 public:
  // Opens config and weight files and checks headers; reads no data. Throws InputError.
  explicit ModelFolder(const std::string& path);

  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }

  // Fills every parameter's value (and master) with its part of the stored tensor. Names are strict:
  // one InputError lists all missing, unexpected and misshapen tensors.
  void load(const ParameterList& parameters) const;

  // Names the backbone: its shapes and all its bytes, whatever the files they lie in.
  std::string fingerprint() const;

 private:
  std::string path_;
  ModelConfig config_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*> home_;  // tensor -> file
};

// Writes config.json and model.safetensors into `folder` (made if need be), and copies
// tokenizer files from `like` unchanged. `tensors` are whole, logical tensors by name.
void write_model_folder(const std::string& folder, const std::string& like,
                        const std::map<std::string, Tensor>& tensors);

}  // namespace elastron::model

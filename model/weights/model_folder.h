// A Hugging Face model folder: config.json, model.safetensors (or shards with an index), tokenizer.
// Logical parameter names are Hugging Face's: model.embed_tokens.weight, those of a layer
// (model/layer_shape.h), model.norm.weight, and lm_head.weight unless the embedding is tied. What is
// stored in FP8 (model/weights/quantization.h) is multiplied by its scales as it is read, slice by
// slice, unless the parameter is kept in FP8 too: that gets values and scales as they are.
#pragma once
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/file/safetensors_folder.h"
#include "core/parameter.h"
#include "model/weights/expected_tensors.h"
#include "model/weights/model_config.h"

namespace elastron::model {

class ModelFolder {
 public:
  // Opens config and weight files and checks headers; reads no data, but where an embedding and a
  // head that should be the same are both stored. Whatever reads data, now or later, calls
  // `on_slice`, if it is given, after every 16 MiB or less. `rope`: what counts in the place of its
  // rope scaling. Throws InputError.
  explicit ModelFolder(const std::string& path, const RopeOverride& rope = {},
                       OnSlice on_slice = {});

  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  // The names of its weights: no buffers, no scales, and a head that is the embedding not twice.
  std::vector<std::string> weight_names() const;
  // The whole weight as it is stored; float16 and FP8 as float32. Throws InputError when missing.
  Tensor read(const std::string& name, Device& device) const;

  // Fills every parameter's value (and master) with its part of the stored tensor; beside it takes
  // a few MB. One that is kept quantised (Parameter::scale) is quantised as it is read. Says how far it is when it takes long. Names are
  // strict: one InputError lists all missing, unexpected and misshapen tensors. `unused`: one that
  // may be there and is not wanted. Processes that load together give each a number, `reader`, and
  // begin at places of their own: what one has read, the others of its machine find in the page
  // cache.
  void load(const ParameterList& parameters, const std::string& unused = "", int reader = 0) const;

  // Names the backbone: XXH3-128 over its shapes, constants and all its bytes, whatever the files
  // they lie in and in which order. In two steps, so that ranks can share the reading: the
  // checksums of every `parts`-th tensor, and what comes of those of all parts.
  std::string tensor_checksums(int part, int parts) const;
  std::string fingerprint(std::span<const std::string> checksums) const;

 private:
  // A tied head may be stored as well; it is the embedding again.
  bool is_again(const std::string& name) const {
    return config_.tie_word_embeddings && name == kLmHead;
  }
  // Of a weight: check_tensors has seen that there is one.
  bool is_scale(const std::string& name) const {
    return config_.fp8_blocks && name.ends_with(kScaleSuffix);
  }
  // Fills a parameter that is kept quantised; `scale` is the stored tensor's. False where it holds
  // what are no numbers.
  bool load_quantised(Parameter& p, const SafetensorsFile& file, const WeightScale& scale) const;
  // Of a stored tensor; undefined where it has none.
  WeightScale scale_of(const std::string& name) const;

  std::string path_;
  ModelConfig config_;
  SafetensorsFolder weights_;
  OnSlice on_slice_;
};

// Names the positions of a model whose weights are still being made: a rule's frequencies.
std::string rope_fingerprint(const ops::RopeRule& rule);

// Writes model.safetensors with `tensors` (whole, logical tensors by name, floating, on the CPU) as
// `dtype` (default: as they are) into `folder`, made if need be, with the tokenizer files of `like`
// unchanged and its config.json, whose torch_dtype follows the tensors, in which the keys of
// `changes` are replaced and the rope scaling is what `rope` says. A folder that is written
// over has no config.json meanwhile, so that it is never taken for a model while it is half one.
// Throws InputError naming the file and errno.
void write_model_folder(const std::string& folder, const std::string& like,
                        const std::map<std::string, Tensor>& tensors, const RopeOverride& rope,
                        std::optional<DType> dtype, const nlohmann::ordered_json& changes);
void write_model_folder(const std::string& folder, const std::string& like,
                        const std::map<std::string, Tensor>& tensors, const RopeOverride& rope = {},
                        std::optional<DType> dtype = {});

}  // namespace elastron::model

// Low-rank adapters and a reward head in the file form of the peft library: adapter_config.json and
// adapter_model.safetensors. What `export` writes of a reward model (reward_exchange.h), and what
// comes from that library, becomes a checkpoint again.
#pragma once
#include <map>
#include <string>

#include "core/device.h"
#include "core/json.h"
#include "core/tensor.h"
#include "model/lora.h"
#include "model/weights/model_folder.h"
#include "parallel/mesh.h"

namespace elastron::train {

inline constexpr const char* kAdapterSettings = "adapter_config.json";
inline constexpr const char* kAdapterTensors = "adapter_model.safetensors";
// The library puts this before a tensor's logical name.
inline constexpr const char* kAdapterPrefix = "base_model.model.";
// This stands in a factor's name in place of its matrix's ".weight".
inline constexpr const char* kFactorA = ".lora_A.weight";
inline constexpr const char* kFactorB = ".lora_B.weight";

struct AdapterSettings {
  model::LoraConfig lora;   // its targets in the order of model::kLinearNames
  bool classifier = true;   // SEQ_CLS; otherwise CAUSAL_LM
  bool saves_head = false;  // modules_to_save says so
};

// adapter_config.json. Throws InputError naming `where` and the key: one that is missing or of the
// wrong type, or that says what cannot be done here (DoRA, biases, ranks by layer, a start that
// changes the model's weights, ...). A key that is not known must say nothing: null, false, empty.
// use_rslora becomes another alpha.
AdapterSettings read_adapter_settings(const nlohmann::json& object, const std::string& where);

struct StoredAdapter {
  AdapterSettings settings;
  std::map<std::string, Tensor> tensors;  // float32, whole, by logical name
};

// Whether `path` is a folder with one of the two files.
bool is_adapter_folder(const std::string& path);

// One rank. The adapters of every layer of `base`, and the head if there is one; nothing else may
// be in the file. Throws InputError.
StoredAdapter read_adapter(const std::string& folder, const model::ModelFolder& base,
                           Device& device);

// Collective. Makes `folder`, without checkpoints so far, and in it the checkpoint of step 0 of a
// reward model: the adapter in `from` over the model in `model`. -> the file. Throws on all ranks.
std::string import_adapter(const std::string& from, const std::string& model,
                           const std::string& folder, parallel::Mesh& mesh, Device& device);

}  // namespace elastron::train

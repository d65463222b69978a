// The tensors that a folder must hold by its config.json, known before anything is allocated.
#pragma once
#include <string>

#include "core/file/safetensors_folder.h"
#include "model/weights/model_config.h"

namespace elastron::model {

inline constexpr const char* kEmbedding = "model.embed_tokens.weight";
inline constexpr const char* kLmHead = "lm_head.weight";
inline constexpr const char* kScore = "score.weight";

// Throws one InputError that lists the tensors that are missing, unexpected or of other shapes.
// Whether there must be an LM head is the command's matter; one that is there must have its shape.
void check_tensors(const ModelConfig& config, const SafetensorsFolder& weights,
                   const std::string& folder);

// A tensor that older folders hold and that follows from the config: no weight.
bool is_buffer(const std::string& name);

// Whether two tensors of one shape and storage hold the same bytes. Stops at the first difference;
// calls `on_slice`, if it is given, now and then.
bool same_bytes(const TensorHomes& homes, const std::string& a, const std::string& b,
                const OnSlice& on_slice);

}  // namespace elastron::model

// What config.json says of quantised weights. Read are folders in block-scaled FP8, as Qwen and
// DeepSeek publish them: each linear weight of the layers is float8_e4m3fn with a float32 scale per
// block beside it, <weight>_scale_inv, and is multiplied by that when it is loaded.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "core/weight_scale.h"
#include "model/weights/config_reader.h"

namespace elastron::model {

inline constexpr std::string_view kScaleSuffix = ".weight_scale_inv";
inline std::string scale_name(const std::string& weight) { return weight + "_scale_inv"; }

// Nothing where no weight is quantised. Throws InputError naming a method, or a key of it, that is
// not read.
std::optional<WeightBlocks> read_quantization(const ConfigReader& config);

}  // namespace elastron::model

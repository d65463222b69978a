#include "model/weights/quantization.h"

#include <algorithm>
#include <string_view>

namespace elastron::model {

namespace {

constexpr const char* kKey = "quantization_config";
constexpr int64_t kLargestBlock = 65536;
// Which modules are quantised shows in the files; how activations would be rounded does not matter
// where weights are multiplied as they were.
constexpr std::string_view kKnown[] = {"quant_method",
                                       "fmt",
                                       "activation_scheme",
                                       "weight_block_size",
                                       "modules_to_not_convert",
                                       "ignored_layers",
                                       "dequantize"};

}  // namespace

std::optional<WeightBlocks> read_quantization(const ConfigReader& config) {
  if (!config.has(kKey)) return {};
  const std::string as_before =
      "use the folder with the weights as they were before, in bfloat16 or float32";
  if (!config.at(kKey).is_object()) {
    config.fail(config.named(kKey) + " is " + shown(config.at(kKey)) + ", not an object",
                "correct it");
  }
  const ConfigReader q(config.at(kKey), config.where(), kKey);
  const std::string method = q.text("quant_method", "");
  if (method != "fp8") {
    config.fail(config.named(kKey) + (method.empty() ? "" : " (" + shown(method) + ")") +
                    " is not supported: of quantised weights only block-scaled FP8 is read",
                as_before);
  }
  for (const auto& [key, value] : q.object().items()) {
    if (!value.is_null() && std::ranges::find(kKnown, key) == std::end(kKnown)) {
      q.fail(q.named(key) + " (" + shown(value) + ") is not known here", as_before);
    }
  }
  if (q.text("fmt", "e4m3") != "e4m3") {
    q.fail(q.named("fmt") + " is " + shown(q.at("fmt")) + ", not e4m3", as_before);
  }
  if (q.text("activation_scheme", "dynamic") != "dynamic") {
    q.fail(q.named("activation_scheme") + " is " + shown(q.at("activation_scheme")) +
               ", not dynamic: its files hold scales of activations",
           as_before);
  }
  if (!q.object().contains("weight_block_size")) return WeightBlocks{};
  const nlohmann::json& blocks = q.at("weight_block_size");
  if (!blocks.is_array() || blocks.size() != 2) {
    q.fail(q.named("weight_block_size") + " is " + shown(blocks) +
               ", not a pair: only scales of blocks are read",
           as_before);
  }
  return WeightBlocks{.out = q.whole_number(blocks[0], "weight_block_size", 1, kLargestBlock),
                      .in = q.whole_number(blocks[1], "weight_block_size", 1, kLargestBlock)};
}

}  // namespace elastron::model

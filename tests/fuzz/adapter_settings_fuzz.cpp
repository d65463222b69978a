// adapter_config.json: settings that are read are those of adapters that a model can have.
#include <algorithm>
#include <cmath>

#include "tests/fuzz/input.h"
#include "train/exchange/adapter_exchange.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace elastron;
  fuzz::expect_read_or_refused([&] {
    const auto object = parse_json_strict({reinterpret_cast<const char*>(bytes), size}, "input",
                                          {.max_bytes = size_t(1) << 20, .max_depth = 16});
    const auto settings = train::read_adapter_settings(object, "input");
    const model::LoraConfig& lora = settings.lora;
    fuzz::require(lora.rank >= 1 && lora.rank <= 4096);
    fuzz::require(lora.alpha > 0 && std::isfinite(lora.alpha));
    fuzz::require(!lora.targets.empty() && lora.targets.size() <= model::kLinearNames.size());
    for (const std::string& target : lora.targets) {
      fuzz::require(std::ranges::find(model::kLinearNames, target) != model::kLinearNames.end());
    }
    fuzz::require(settings.classifier || !settings.saves_head);
  });
  return 0;
}

// The settings of routers of other origin: router.json, and a config.json with the published
// implementation's keys, beside a router of one layer. Settings that are read are written and read
// back as the same.
#include "core/json.h"
#include "router/attention_router.h"
#include "router/reference_exchange.h"
#include "tests/fuzz/input.h"

namespace elastron::fuzz {
namespace {

constexpr int64_t kTasks = 5;

// With the published names.
const TensorHomes& tensors() {
  static CpuDevice cpu;
  static const SafetensorsFile file = [] {
    router::RouterConfig config;
    config.task_widths = config.widths = {1, 1};
    router::AttentionRouter layer(0, 2, kTasks, config, DType::f32, 1, false, cpu);
    ParameterList list;
    layer.append_parameters(list);
    router::StoredRouter stored;
    for (const Parameter* p : list) stored.tensors[p->name] = p->value;
    const std::string path = scratch_folder() + "/router.safetensors";
    write_safetensors(path, router::to_reference(stored, 2, cpu));
    return SafetensorsFile(path);
  }();
  static const TensorHomes homes = [] {
    TensorHomes all;
    for (const auto& [name, entry] : file.entries()) all.emplace(name, &file);
    return all;
  }();
  return homes;
}

}  // namespace
}  // namespace elastron::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace elastron;
  nlohmann::json object;
  bool parsed = false;
  fuzz::expect_read_or_refused([&] {
    object = parse_json_strict({reinterpret_cast<const char*>(bytes), size}, "input",
                               {.max_bytes = size_t(1) << 20, .max_depth = 16});
    parsed = true;
  });
  if (!parsed) return 0;
  fuzz::expect_read_or_refused([&] {
    const auto settings = router::read_settings(object, "input");
    const std::string once = router::settings_json(settings).dump();
    const auto again = router::read_settings(nlohmann::json::parse(once), "again");
    fuzz::require(router::settings_json(again).dump() == once);
  });
  CpuDevice cpu;
  fuzz::expect_read_or_refused([&] {
    const auto router =
        router::from_reference(fuzz::tensors(), object, "input", fuzz::kTasks, "tensors", cpu);
    fuzz::require(router.layers() == 1);
  });
  return 0;
}

// A safetensors file taken for a trained router, under our names and under the published ones. What
// is read has the layers and shapes that its settings say.
#include <nlohmann/json.hpp>

#include "router/attention_router.h"
#include "router/reference_exchange.h"
#include "tests/fuzz/input.h"

namespace elastron::fuzz {
namespace {

constexpr int64_t kTasks = 5;

void require_whole(const router::StoredRouter& router) {
  require(router.layers() > 0);
  std::vector<router::RouterTensor> tensors;
  if (router.config.kind == router::Kind::static_l0) {
    tensors = {{"log_alpha", router.tensors.at("router.layers.0.log_alpha").shape()}};
  } else {
    const int64_t head_dim = router.tensors.at("router.layers.0.task.0.weight").size(1);
    tensors = router::router_tensors(head_dim, kTasks, router.config);
  }
  for (int64_t i = 0; i < router.layers(); ++i) {
    for (const auto& [leaf, shape] : tensors) {
      const auto it = router.tensors.find("router.layers." + std::to_string(i) + "." + leaf);
      require(it != router.tensors.end() && it->second.shape() == shape);
      require(it->second.dtype() == DType::f32);
    }
  }
  const size_t multipliers = router.has_multipliers() ? 2 : 0;
  require(router.tensors.size() == size_t(router.layers()) * tensors.size() + multipliers);
}

}  // namespace
}  // namespace elastron::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace elastron;
  const fuzz::InputAsFile input({reinterpret_cast<const char*>(bytes), size});
  CpuDevice cpu;
  fuzz::expect_read_or_refused([&] {
    const SafetensorsFile file(input.path());
    TensorHomes homes;
    for (const auto& [name, entry] : file.entries()) homes.emplace(name, &file);
    const bool embedded = homes.size() % 2 == 1;  // with the option and without
    fuzz::expect_read_or_refused([&] {
      router::StoredRouter settings;
      settings.config.task_widths = settings.config.widths = {1, 1};
      settings.config.task_embedding = embedded;
      fuzz::require_whole(router::from_logical(homes, settings, fuzz::kTasks, "tensors", cpu));
    });
    fuzz::expect_read_or_refused([&] {
      static const nlohmann::json config = {{"toggle_type", "streaming"},
                                            {"retrieval_mode", "full"},
                                            {"use_softmax", true},
                                            {"enable_ada_sparsity", true}};
      fuzz::require_whole(
          router::from_reference(homes, config, "config", fuzz::kTasks, "tensors", cpu));
    });
    fuzz::expect_read_or_refused([&] {
      fuzz::require_whole(router::from_reference(homes, nlohmann::json::object(), "config",
                                                 fuzz::kTasks, "tensors", cpu));
    });
  });
  return 0;
}

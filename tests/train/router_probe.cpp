// router_probe ROUTER KEYS.safetensors OUT.safetensors: what a trained router, wherever it is kept,
// decides on given key states. KEYS: layer_<i>, float32 [tokens, kv_heads, head_dim], of a prompt.
// OUT: logits_<i> [kv_heads, classes] and gates_<i> [kv_heads]. For
// tests/oracle/compare_router_exchange.py.
#include <cstdio>
#include <memory>

#include "core/file/safetensors.h"
#include "data/packed_batch.h"
#include "parallel/agree.h"
#include "router/routed_layer.h"
#include "train/exchange/router_exchange.h"

namespace elastron {
namespace {

void probe(const std::string& path, const std::string& keys_path, const std::string& out_path) {
  CpuDevice cpu;
  auto mesh = parallel::Mesh::single();
  const auto stored = train::read_router(path, mesh, cpu);
  const SafetensorsFile keys(keys_path);
  std::map<std::string, Tensor> out;
  std::vector<std::unique_ptr<router::AttentionRouter>> routers;
  ParameterList list;
  const Tensor first = keys.read("layer_0", cpu);
  for (int64_t i = 0; i < stored.layers(); ++i) {
    routers.push_back(std::make_unique<router::AttentionRouter>(
        i, first.size(2), data::kTaskCount, stored.config, DType::f32, 0, false, cpu));
    routers.back()->append_parameters(list);
  }
  router::fill_parameters(stored, path, list);
  for (int64_t i = 0; i < stored.layers(); ++i) {
    const std::string layer = std::to_string(i);
    const Tensor k = keys.read("layer_" + layer, cpu);
    const std::vector<int32_t> cu_seqlens = {0, int32_t(k.size(0))};
    router::RouterBatch batch;
    batch.segments = {{0, k.size(0)}};
    const router::RoutedLayer routed(i, 0, stored.config, 0, *routers[size_t(i)]);
    router::SavedRoute route;
    routed.decide(k, 1, batch, route);
    const auto& c = stored.config;
    const Tensor pooled = ops::boundary_pool_forward(
        k, batch.segments, {c.pool == router::Pool::boundary, c.pool_budget, c.pool_dedup});
    out["logits_" + layer] =
        routers[size_t(i)]->forward(pooled, nullptr).view({k.size(1), c.classes()});
    out["gates_" + layer] = route.gate.view({k.size(1)});
  }
  write_safetensors(out_path, out);
}

}  // namespace
}  // namespace elastron

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    elastron::probe(argv[1], argv[2], argv[3]);
  } catch (const elastron::parallel::AgreedFailure& failure) {
    std::fprintf(stderr, "error: %s\n", failure.line().value_or("").c_str());
    return int(failure.kind());
  } catch (const elastron::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return int(error.kind());
  }
  return 0;
}

// Routers in and out: wherever a trained router is kept, it is read the same way
// (docs/router-exchange.md).
#pragma once
#include <string>

#include "core/device.h"
#include "parallel/mesh.h"
#include "router/exchange.h"

namespace elastron::train {

// Collective over the mesh. `path` is one of
//   a router checkpoint: step-*.h5, a run's folder, its checkpoints/, or latest / best in it;
//   an exported router: the folder with router.safetensors and router.json, or the .safetensors;
//   a folder of the published implementation: config.json, and router.safetensors,
//   model.safetensors or shards with an index, where backbone tensors may stand as well.
// Every rank gets the whole router. Throws on all ranks: exit code 3, or 4 for a checkpoint.
//
//   const auto stored = train::read_router(path, mesh, device);
//   config.router = stored.config;                      // then what the command line sets
//   ... make the AttentionRouters; collect their parameters with append_parameters ...
//   router::fill_parameters(stored, path, list);        // on each rank; throws InputError
router::StoredRouter read_router(const std::string& path, parallel::Mesh& mesh, Device& device);

// Writes router.safetensors and router.json into `folder`, made if need be.
void write_router(const std::string& folder, const router::StoredRouter& router);

// Writes router.safetensors with the published implementation's names and config.json. `model`: the
// backbone's folder. `whole_config`: its config.json with the keys added, otherwise the keys alone.
void write_reference_router(const std::string& folder, const router::StoredRouter& router,
                            const std::string& model, bool whole_config, Device& device);

}  // namespace elastron::train

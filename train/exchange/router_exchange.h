// Routers in and out: wherever a trained router is kept, it is read in the same way
// (docs/router-exchange.md).
#pragma once
#include <string>

#include "core/device.h"
#include "core/dtype.h"
#include "core/file/slices.h"
#include "model/weights/rope_override.h"
#include "parallel/mesh.h"
#include "router/exchange.h"

namespace elastron::train {

// Collective over the mesh. `path` is one of
//   a router checkpoint: step-*.h5, a run's folder, its checkpoints/, or latest / best in it;
//   an exported router: the folder with router.safetensors and router.json, or the former;
//   a folder of the published implementation: config.json, and router.safetensors,
//   model.safetensors or shards with an index, where backbone tensors may stand as well.
// Every rank gets the whole router. Throws on all ranks (AgreedFailure): exit code 3, or 4 for a
// checkpoint. `device`: CPU. `on_slice` is called while a checkpoint is read.
//
//   const auto stored = train::read_router(path, mesh, device);
//   config.router = stored.config;                  // then what the command line sets
//   ... make LayerRouters and collect their parameters with append_parameters ...
//   router::fill_parameters(stored, path, list);    // on each rank; throws InputError
router::StoredRouter read_router(const std::string& path, parallel::Mesh& mesh, Device& device,
                                 const OnSlice& on_slice = {});

// Whether read_router would take `path` for files, not for a checkpoint. Throws InputError for a
// file of another name.
bool is_exchange_folder(const std::string& path);

// The positions that a router was trained with, as a stored router has them, and as a configuration
// does. `where` names the router in the InputError that is thrown for what is none.
std::string stored_rope_scaling(const model::RopeOverride& rope);
model::RopeOverride rope_scaling_of(const router::StoredRouter& router, const std::string& where);

// One rank. Write router.safetensors and the settings (router.json or config.json) into `folder`,
// made if need be: never into one that holds something else. dtype: what the tensors are stored in,
// float32 (exact) or bfloat16. Throw InputError, UsageError.
void write_router(const std::string& folder, const router::StoredRouter& router, DType dtype);
// With the published implementation's names. `model`: the backbone's folder. `whole_config`: its
// config.json with the keys added; otherwise the keys alone.
void write_reference_router(const std::string& folder, const router::StoredRouter& router,
                            const std::string& model, bool whole_config, DType dtype,
                            Device& device);

// Collective. Makes `folder`, without checkpoints so far, and in it the checkpoint of step 0 of a
// router's training on the backbone in `model`: optimiser state zero, at the start of any data.
// -> the file. `where`: what the router was read from. Throws on all ranks.
std::string write_first_checkpoint(const std::string& folder, const router::StoredRouter& router,
                                   const std::string& where, const std::string& model,
                                   parallel::Mesh& mesh, Device& device);

}  // namespace elastron::train

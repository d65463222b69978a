// The training loop: steps, metrics, evaluation, checkpoints, resuming, stopping on request.
#pragma once
#include <functional>
#include <string>

#include "core/device.h"
#include "core/error.h"
#include "parallel/mesh.h"
#include "parallel/watchdog.h"
#include "train/config.h"

namespace elastron::train {

enum class ResumeMode : uint8_t { automatic, none, path };

// Collective over the mesh. `stop_requested` is asked on every rank after every step; the watchdog
// is told what is being done. -> ok, or stopped after a checkpoint was saved. Throws NumericalError
// when more than train.max_skips steps in a row were not finite.
ExitCode run_training(const Config& config, ResumeMode resume, const std::string& resume_path,
                      parallel::Mesh& mesh, Device& device, parallel::Watchdog& watchdog,
                      const std::function<bool()>& stop_requested);

// What a run would be, without training: parameters, bytes per rank, layout. For --dry-run.
std::string describe_run(const Config& config, parallel::Mesh& mesh, Device& device);

}  // namespace elastron::train

// The training loop: steps, metrics, evaluation, checkpoints, resuming, stopping on request.
#pragma once
#include <functional>
#include <string>

#include "core/device.h"
#include "core/error.h"
#include "parallel/mesh.h"
#include "parallel/watchdog.h"
#include "train/config.h"
#include "train/run.h"

namespace elastron::train {

struct TrainingHooks {
  std::function<bool()> stop_requested;  // asked on every rank after every step
  // On every rank, once output.dir is the run's own: what is written there before is an earlier
  // run's.
  std::function<void()> folder_is_ours;
};

// Collective over the mesh. The watchdog is told what is being done. -> ok, or stopped after a
// checkpoint was saved. Throws NumericalError when more than train.max_skips steps in a row were
// not finite, or all of them.
ExitCode run_training(const Config& config, const ResumeRequest& resume, parallel::Mesh& mesh,
                      Device& device, parallel::Watchdog& watchdog, const TrainingHooks& hooks);

// Describes a run without training: parameters, bytes per rank, layout. For --dry-run.
std::string describe_run(const Config& config, parallel::Mesh& mesh, Device& device);

}  // namespace elastron::train

// The objects a subcommand runs on, in the order they are made and destroyed.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/log.h"
#include "launch/self_check/self_check.h"
#include "parallel/mesh.h"
#include "parallel/watchdog.h"
#include "parallel/world.h"
#include "train/config.h"

namespace elastron::launch {

struct ConfigArguments {
  std::vector<std::string> files;
  std::vector<std::string> overrides;
};

// Reads, merges and checks the configuration. Files that are named as they ship, and such a
// model.path, are found from any folder (launch/shipped_files.h).
train::Config read_run_config(const ConfigArguments& arguments, config::Origins* origins = nullptr);
// The same on every rank; one rank reports what is wrong.
train::Config load_run_config(const ConfigArguments& arguments, parallel::Communicator& world);

class Runtime {
 public:
  // Chooses the device and the libraries.
  Runtime(parallel::World& world, const train::Config& config);

  Device& device() { return *device_; }
  parallel::Mesh& mesh() { return *mesh_; }
  parallel::Watchdog& watchdog() { return *watchdog_; }
  // Collective. Checks the device's kernels as device.self_check says, for what a run of this
  // configuration uses (launch/self_check/self_check.h), and logs how many were checked.
  void check_kernels(const train::Config& config, bool trains);
  // Bytes of the device that a plan of this rank may fill (train/plan/usable_memory.h); 0: not
  // known.
  int64_t usable_memory() const;
  // Once at start: back end, libraries, layout. full_attention: of the run's own steps, where the
  // model's shapes are known (train::full_attention_line); else what the library is there for.
  void announce(const parallel::World& world,
                const std::optional<std::string>& full_attention = std::nullopt) const;

 private:
  void check_collectives(parallel::World& world, const train::Config& config);

  std::unique_ptr<Device> device_;
  int node_size_, gpu_sharers_ = 1;  // ranks of this machine, and of its GPU
  std::string why_not_gpu_;
  std::unique_ptr<parallel::Communicator> everyone_;
  std::unique_ptr<SelfCheck> self_check_;
  std::unique_ptr<parallel::Watchdog> watchdog_;  // beside the ends of the others too
  std::unique_ptr<parallel::CollectiveBackend> collectives_;
  std::string why_not_nccl_, full_attention_, attention_kernels_, binding_;
  std::unique_ptr<parallel::Mesh> mesh_;
};

}  // namespace elastron::launch

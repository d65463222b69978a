#include "launch/runtime.h"

#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <span>
#include <thread>

#include "core/plural.h"
#include "launch/collectives.h"
#include "launch/device.h"
#include "launch/shipped_files.h"
#include "launch/signals.h"
#include "launch/version.h"
#include "ops/routed_attention.h"
#include "parallel/agree.h"

namespace elastron::launch {

train::Config read_run_config(const ConfigArguments& arguments, config::Origins* origins) {
  std::vector<std::string> files;
  for (const std::string& file : arguments.files) files.push_back(shipped_path(file));
  auto config = config::load_config<train::Config>(files, arguments.overrides, origins);
  config.model.path = shipped_path(config.model.path);
  return config;
}

train::Config load_run_config(const ConfigArguments& arguments, parallel::Communicator& world) {
  train::Config config;
  parallel::on_all_ranks(world, [&] { config = read_run_config(arguments); });
  return config;
}

namespace {

// Ranks share the machine's cores, unless OMP_NUM_THREADS says otherwise: threads that spin for a
// core which another rank is using cost far more than they bring.
void share_cores(const parallel::World& world) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return;
  const int share = int(std::thread::hardware_concurrency()) / world.node_size();
  omp_set_num_threads(std::clamp(share, 1, omp_get_num_procs()));
}

// Who computes full attention, in words; nothing on the CPU, which has one way. Throws UsageError
// where the configuration asks for what is not there.
std::string choose_full_attention(Device& device, const train::ModelSection& model) {
  using By = ops::FullAttentionBy;
  if (device.kind() != DeviceKind::cuda || model.full_attention == By::own) return "";
  std::string why;
  const bool asked = model.full_attention == By::cudnn;
  if (!asked && model.compute_dtype() != DType::bf16) return "";
  const std::string library = ops::full_attention_library(device, why);
  if (asked && library.empty()) {
    throw UsageError("cuDNN cannot be used: " + why, "model.full_attention",
                     "set it to auto or own, or name the library in ELASTRON_CUDNN_LIBRARY");
  }
  if (asked && model.compute_dtype() != DType::bf16) {
    throw UsageError("cuDNN's attention is for bfloat16", "model.full_attention",
                     "set model.dtype to bfloat16, or this to auto");
  }
  if (library.empty()) return "by our own kernels: " + why;
  return "by " + library + (asked ? "" : " from 1024 tokens on");
}

}  // namespace

Runtime::Runtime(parallel::World& world, const train::Config& config) {
  share_cores(world);
  give_signal_stacks();
  auto everyone = world.split(0, world.rank(), "world");
  parallel::on_all_ranks(*everyone, [&] {
    ChosenDevice chosen = choose_device(config.device, world.node_rank());
    device_ = std::move(chosen.device);
    why_not_gpu_ = chosen.why_not_gpu;
  });
  parallel::MeshLayout layout;
  parallel::on_all_ranks(*everyone, [&] {
    layout =
        parallel::MeshLayout::resolve(world.size(), int(config.parallel.data.value_or(0)),
                                      int(config.parallel.context), int(config.parallel.tensor));
  });
  parallel::on_all_ranks(*everyone,
                         [&] { full_attention_ = choose_full_attention(*device_, config.model); });
  attention_kernels_ = ops::attention_kernels(*device_, config.model.compute_dtype());
  watchdog_ = std::make_unique<parallel::Watchdog>(world, config.parallel.timeout_seconds);
  ChosenCollectives chosen = choose_collectives(config.parallel.communicator, world, *device_);
  collectives_ = std::move(chosen.backend);
  why_not_nccl_ = chosen.why_not_nccl;
  mesh_ = std::make_unique<parallel::Mesh>(world, layout, collectives_.get());
}

void Runtime::announce(const parallel::World& world,
                       const std::optional<std::string>& full_attention) const {
  const auto& layout = mesh_->layout();
  log_info("elastron {} | {} | {} per rank | {}{} | data {} x context {} x tensor {}",
           version_number(), device_->description(), plural(omp_get_max_threads(), "thread"),
           world.library(), collectives_ ? " + " + collectives_->library() : "", layout.data,
           layout.context, layout.tensor);
  if (!why_not_gpu_.empty()) log_info("on the CPU: {}", why_not_gpu_);
  if (!attention_kernels_.empty()) log_info("attention by {}", attention_kernels_);
  const std::string& by = full_attention ? *full_attention : full_attention_;
  if (!by.empty()) log_info("full attention {}", by);
  if (!why_not_nccl_.empty()) log_info("collectives over MPI: {}", why_not_nccl_);
}

}  // namespace elastron::launch

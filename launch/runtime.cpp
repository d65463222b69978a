#include "launch/runtime.h"

#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <span>
#include <thread>

#include "core/plural.h"
#include "launch/collectives.h"
#include "launch/device.h"
#include "launch/numa.h"
#include "launch/shipped_files.h"
#include "launch/signals.h"
#include "launch/version.h"
#include "ops/attention_means.h"
#include "parallel/agree.h"
#include "parallel/collective_check.h"
#include "train/plan/usable_memory.h"

#if ELASTRON_WITH_CUDA
#include "core/cuda/device.h"
#include "core/cuda/free_memory.h"
#include "core/cuda/gpus.h"
#endif

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

#if ELASTRON_WITH_CUDA
// Which machine this is: the same for all containers on it.
std::string machine() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}
#endif

// Collective, on ranks that have GPUs. Ranks that are bound to the same node share its cores. -> a
// line on where the ranks are, or nothing.
std::string bind_to_nodes([[maybe_unused]] const Device& device,
                          [[maybe_unused]] parallel::Communicator& everyone) {
#if ELASTRON_WITH_CUDA
  const int ordinal = static_cast<const cuda::CudaDevice&>(device).ordinal();
  const NumaBinding mine = bind_beside_gpu(cuda::gpu_pci_address(ordinal));
  const auto places = everyone.all_gather_host(machine() + "/" + mine.state);
  if (mine.node >= 0) {
    const auto ranks = std::ranges::count(places, places[size_t(everyone.rank())]);
    omp_set_num_threads(std::clamp(mine.cores / int(ranks), 1, omp_get_max_threads()));
  }
  std::vector<std::string> states;
  for (const std::string& place : places) states.push_back(place.substr(place.find('/') + 1));
  return describe_bindings(states);
#else
  return "";
#endif
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

Runtime::Runtime(parallel::World& world, const train::Config& config)
    : node_size_(world.node_size()) {
  share_cores(world);
  everyone_ = world.split(0, world.rank(), "world");
  parallel::Communicator* everyone = everyone_.get();
  ChosenDevice on = choose_device(config.device.kind, *everyone);
  device_ = std::move(on.device);
  why_not_gpu_ = on.why_not_gpu;
  gpu_sharers_ = on.sharers;
  if (device_->kind() == DeviceKind::cuda) binding_ = bind_to_nodes(*device_, *everyone);
  give_signal_stacks();
  parallel::MeshLayout layout;
  parallel::on_all_ranks(*everyone, [&] {
    layout =
        parallel::MeshLayout::resolve(world.size(), int(config.parallel.data.value_or(0)),
                                      int(config.parallel.context), int(config.parallel.tensor));
  });
  parallel::on_all_ranks(*everyone,
                         [&] { full_attention_ = choose_full_attention(*device_, config.model); });
  self_check_ = std::make_unique<SelfCheck>(*everyone, *device_);
  attention_kernels_ = ops::attention_kernels(*device_, config.model.compute_dtype());
  watchdog_ = std::make_unique<parallel::Watchdog>(world, config.parallel.timeout_seconds);
  ChosenCollectives chosen = choose_collectives(config.parallel.communicator, world, *device_);
  collectives_ = std::move(chosen.backend);
  why_not_nccl_ = chosen.why_not_nccl;
  mesh_ = std::make_unique<parallel::Mesh>(world, layout, collectives_.get());
  if (collectives_ && config.device.self_check != train::SelfCheck::off) {
    check_collectives(world, config);
  }
}

// On every rank alike, whichever found something.
void Runtime::check_collectives(parallel::World& world, const train::Config& config) {
  std::string wrong;
  for (parallel::Communicator* group : {&mesh_->tensor(), &mesh_->context(), &mesh_->grad()}) {
    wrong = parallel::wrong_collective(*group, *device_, SelfCheck::seconds_of_a_check());
    // After one that hangs the next would as well.
    const auto all = everyone_->all_gather_host(wrong);
    const auto found = std::ranges::find_if(all, [](const auto& text) { return !text.empty(); });
    if (found == all.end()) continue;
    wrong = *found;
    break;
  }
  if (wrong.empty()) {
    self_check_->note(collectives_->library());
    return;
  }
  parallel::on_all_ranks(*everyone_, [&] {
    if (config.parallel.communicator != train::CommunicatorChoice::nccl) return;
    throw UsageError("NCCL cannot be used: its results are wrong: " + wrong,
                     "parallel.communicator", "set it to auto or mpi");
  });
  log_warning("self-check: {}: {}; it is not used, MPI is", collectives_->library(), wrong);
  why_not_nccl_ = "NCCL's results are wrong here (" + wrong + ")";
  const parallel::MeshLayout layout = mesh_->layout();
  collectives_->abandon();
  mesh_.reset();
  collectives_.reset();
  mesh_ = std::make_unique<parallel::Mesh>(world, layout, nullptr);
}

void Runtime::check_kernels(const train::Config& config, bool trains) {
  self_check_->check(config, trains);
  if (const auto checked = self_check_->summary(); !checked.empty()) {
    log_info("self-check: {}", checked);
  }
}

int64_t Runtime::usable_memory() const {
  const DeviceKind kind = device_->kind();
  const double share = train::usable_share(kind);
  const auto outside = train::outside_plan(mesh_->layout(), kind);
#if ELASTRON_WITH_CUDA
  if (kind == DeviceKind::cuda) {
    const auto has = cuda::gpu_memory(*device_);
    return train::usable_memory_now(has.total, has.free, gpu_sharers_, share, outside);
  }
#endif
  return train::usable_memory(double(available_host_memory(node_size_)), share, outside);
}

void Runtime::announce(const parallel::World& world,
                       const std::optional<std::string>& full_attention) const {
  const auto& layout = mesh_->layout();
  log_info("elastron {} | {} | {} per rank | {}{} | data {} x context {} x tensor {}",
           version_number(), device_->description(), plural(omp_get_max_threads(), "thread"),
           world.library(), collectives_ ? " + " + collectives_->library() : "", layout.data,
           layout.context, layout.tensor);
  if (!why_not_gpu_.empty()) log_info("on the CPU: {}", why_not_gpu_);
  if (ops::lacks_fast_kernels(*device_)) {
    log_warning(
        "this build has no code for the fast attention kernels of this GPU (compute capability "
        "9.x): "
        "attention will take about twice as long; build with ELASTRON_CUDA_ARCHITECTURES=90a-real");
  }
  if (!binding_.empty()) log_info("NUMA: {}", binding_);
  if (!attention_kernels_.empty()) log_info("attention by {}", attention_kernels_);
  const std::string& by = full_attention ? *full_attention : full_attention_;
  if (!by.empty()) log_info("full attention {}", by);
  if (!why_not_nccl_.empty()) log_info("collectives over MPI: {}", why_not_nccl_);
}

}  // namespace elastron::launch

// Many ranks in place of a cluster: the planner's schedule, played with measured times of ops and a
// model of the links; and how that compares with ranks that run here.
//
//   elastron_bench_simulate [CONFIG...] [--device measured|NAME|FILE] ...   weak and strong scaling
//   mpirun -np N elastron_bench_simulate --check                      predicted over measured steps
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "bench/json_file.h"
#include "bench/scale/measured_device.h"
#include "bench/scale/training_run.h"
#include "launch/device.h"
#include "parallel/world.h"
#include "train/plan/simulate.h"
#include "train/trained_model.h"

namespace elastron::bench {
namespace {

using Json = nlohmann::json;

struct Options {
  std::vector<std::string> files, overrides;
  std::string device = "measured", links, json, on = "cpu";
  std::vector<int> ranks = {8, 16, 32, 64, 128, 256, 512, 1024};
  train::Expected expected;
  train::Disturbances disturbances{.jitter = 0.2,
                                   .straggler_share = 0.005,
                                   .straggler_factor = 1.2,
                                   .pack_spread = 0.3,
                                   .draw_heads = true};
  train::SimulatedRuns runs;
  double bandwidth = 0, latency = 0;
  int64_t tokens = 4096;
  bool check = false;
};

std::string rates(const train::DeviceSpec& d, DType dtype) {
  const double peak = d.flops(dtype);
  return fmt::format(
      "linear {:.1f}, attention {:.1f} forward and {:.1f} backward GFLOP/s; elementwise {:.1f} "
      "GB/s; "
      "a small operation {:.2g} us; link inside a machine {:.2f} GB/s and {:.3g} us, network "
      "{:.2f} "
      "GB/s and {:.3g} us",
      1e-9 * peak * d.compute.linear_share, 1e-9 * peak * d.compute.attention_forward_share,
      1e-9 * peak * d.compute.attention_backward_share,
      1e-9 * d.memory.bandwidth * d.compute.bandwidth_share, 1e6 * d.compute.launch_seconds,
      1e-9 * d.node.bandwidth, 1e6 * d.node.latency, 1e-9 * d.network.bandwidth,
      1e6 * d.network.latency);
}

Json rows_json(const std::vector<train::SimulatedScale>& rows) {
  Json out = Json::array();
  for (const auto& r : rows) {
    const auto& layout = r.planned.plan.layout;
    out.push_back({{"ranks", r.planned.ranks},
                   {"data", layout.data},
                   {"context", layout.context},
                   {"tensor", layout.tensor},
                   {"planned_seconds", r.planned.plan.time.seconds()},
                   {"seconds", r.mean.seconds},
                   {"spread", r.spread},
                   {"computing", r.mean.computing},
                   {"in_collectives", r.mean.in_collectives},
                   {"tokens_per_second", r.planned.plan.time.tokens / r.mean.seconds},
                   {"efficiency", r.efficiency},
                   {"saved_without",
                    {{"stragglers", r.stragglers},
                     {"packs", r.packs},
                     {"heads", r.heads},
                     {"jitter", r.jitter},
                     {"links", r.links}}},
                   {"limit", r.limit}});
  }
  return out;
}

void print(const std::vector<train::SimulatedScale>& rows) {
  std::printf(
      "  ranks  data x ctx x tens   planned s    step s   sd %%   tokens/s  efficiency   saved "
      "without: "
      "stragglers  packs  heads  jitter  links   limit\n");
  for (const auto& r : rows) {
    const auto& l = r.planned.plan.layout;
    std::printf(
        "  %5d  %-18s %10.3f %9.3f %6.1f %10.0f %10.1f %%                %8.1f %% %4.1f %% %4.1f "
        "%% "
        "%5.1f %% %4.1f %%   %s\n",
        r.planned.ranks, fmt::format("{} x {} x {}", l.data, l.context, l.tensor).c_str(),
        r.planned.plan.time.seconds(), r.mean.seconds, 100 * r.spread,
        r.planned.plan.time.tokens / r.mean.seconds, 100 * r.efficiency, 100 * r.stragglers,
        100 * r.packs, 100 * r.heads, 100 * r.jitter, 100 * r.links, r.limit.c_str());
  }
}

train::Config config_of(const Options& o) {
  if (!o.files.empty()) return config::load_config<train::Config>(o.files, o.overrides);
  train::Config config = router_training(o.tokens);
  config.train.global_batch = 16;
  return config;
}

int simulate(const Options& o) {
  const train::Config config = config_of(o);
  const auto model = o.files.empty()
                         ? small_model(4, 256)
                         : model::read_model_config(config.model.path, config.model.rope_scaling);
  const std::string folder = ELASTRON_SOURCE_FOLDER "/configs/devices";
  const bool measured = o.device == "measured";
  const std::string links = !o.links.empty() ? o.links : measured ? "cpu" : o.device;
  const train::DeviceSpec link_spec = train::load_device_spec(links, folder);
  const DType dtype = train::decoder_options(config, true).dtype;
  train::DeviceSpec device = link_spec;
  if (measured) {
    const auto choice = o.on == "cuda" ? train::DeviceChoice::cuda : train::DeviceChoice::cpu;
    const auto here = launch::choose_device(choice).device;
    device = measure_device(model, config.data.max_tokens, dtype, link_spec, *here);
  } else {
    device = train::load_device_spec(o.device, folder);
    device.per_node = link_spec.per_node;
    device.node = link_spec.node;
    device.network = link_spec.network;
  }
  if (o.bandwidth > 0) device.network.bandwidth = o.bandwidth;
  if (o.latency > 0) device.network.latency = o.latency;

  const parallel::MeshLayout layout{
      .data = int(o.ranks.front() / (config.parallel.context * config.parallel.tensor)),
      .context = int(config.parallel.context),
      .tensor = int(config.parallel.tensor)};
  if (layout.data < 1 || layout.ranks() != o.ranks.front()) {
    throw UsageError(fmt::format("{} ranks are no multiple of context {} x tensor {}",
                                 o.ranks.front(), layout.context, layout.tensor),
                     "--ranks", "begin with one");
  }
  const auto start = train::plan_layout(config, model, layout, device, o.expected);
  const auto& d = o.disturbances;
  std::printf(
      "simulated, not run: %s\nrates %s: %s\n"
      "assumed: MSR %.2f, heads drawn by pack and layer; packs differ by %.0f %% and are dealt "
      "by parallel.balance; %.2f %% of the ranks compute %.2f times as long; a collective's time "
      "varies by "
      "%.0f %%; nothing overlaps; %ld steps of %ld seeds\n%ld layers, hidden %ld, packs of %ld "
      "tokens, %ld per step at the start; context by %s, recompute %s\n",
      device.name.c_str(), measured ? "measured here" : "of the device file, not measured",
      rates(device, dtype).c_str(), o.expected.msr, 100 * d.pack_spread, 100 * d.straggler_share,
      d.straggler_factor, 100 * d.jitter, long(o.runs.steps), long(o.runs.seeds),
      long(model.num_layers), long(model.hidden_size), long(config.data.max_tokens),
      long(config.train.global_batch),
      std::string(config::enum_name(config.parallel.context_kind)).c_str(),
      std::string(config::enum_name(config.train.recompute)).c_str());
  Json out = {{"device", device.name},
              {"measured", measured},
              {"rates", rates(device, dtype)},
              {"msr", o.expected.msr},
              {"jitter", d.jitter},
              {"straggler_share", d.straggler_share},
              {"straggler_factor", d.straggler_factor},
              {"pack_spread", d.pack_spread},
              {"steps", o.runs.steps},
              {"seeds", o.runs.seeds}};
  for (const bool weak : {true, false}) {
    std::printf("\n%s scaling: %s\n", weak ? "weak" : "strong",
                weak ? "as many packs per data rank" : "the same packs per step");
    const auto rows =
        train::simulate_scaling(start, model, o.ranks, weak, device, o.expected, d, o.runs);
    print(rows);
    out[weak ? "weak" : "strong"] = rows_json(rows);
  }
  return write_json(o.json, out);
}

// Steps of a small model on the ranks of the world, and the simulator's with rates that all of them
// measure at once before them.
int check(const Options& o) {
  parallel::World world;
  const int ranks = world.size();
  const auto all = world.split(0, world.rank(), "world");
  const auto model = small_model(4, 256);
  const train::DeviceSpec folder =
      train::load_device_spec("cpu", ELASTRON_SOURCE_FOLDER "/configs/devices");
  CpuDevice device;
  const auto measure = [&] {
    all->barrier();
    return measure_device(model, o.tokens, DType::f32, folder, device);
  };
  Json out = {{"ranks", ranks}, {"tokens", o.tokens}};
  if (world.rank() == 0) {
    std::printf(
        "%d ranks: 4 layers, hidden 256, %ld tokens, 2 micro batches for each data rank, "
        "float32; predicted step / measured step\n",
        ranks, long(o.tokens));
  }
  std::vector<parallel::MeshLayout> layouts = {{ranks, 1, 1}};
  if (ranks > 1) layouts.insert(layouts.end(), {{1, ranks, 1}, {1, 1, ranks}});
  for (const auto& layout : layouts) {
    train::Config config = router_training(o.tokens);
    config.train.global_batch = 2 * layout.data;
    config.parallel.context = layout.context;
    config.parallel.tensor = layout.tensor;
    auto spec = measure();
    parallel::Mesh mesh(world, layout);
    TrainingRun run(config, model, mesh);
    double msr = run.step(2).all.msr, seconds = 0;
    constexpr int kSteps = 3;
    for (int i = 0; i < kSteps; ++i) {
      all->barrier();
      const auto start = std::chrono::steady_clock::now();
      msr = run.step(2).all.msr;
      all->barrier();
      const double took =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      seconds = i == 0 ? took : std::min(seconds, took);
    }
    if (ranks > 1) spec.node = measure_link(*all, device);
    spec.per_node = ranks;
    const auto plan = train::plan_layout(config, model, layout, spec, {.msr = msr});
    double predicted =
        train::simulate_step(plan, model, spec, {.msr = msr}, {.draw_heads = true}, 1, 0).seconds;
    all->all_reduce_host(std::span(&predicted, 1), parallel::ReduceOp::max);
    if (world.rank() == 0) {
      std::printf(
          "  data %d x context %d x tensor %d   MSR %.2f   predicted %.3f s   measured %.3f "
          "s   ratio %.2f\n",
          layout.data, layout.context, layout.tensor, msr, predicted, seconds, predicted / seconds);
      std::fflush(stdout);
      out["layouts"].push_back({{"data", layout.data},
                                {"context", layout.context},
                                {"tensor", layout.tensor},
                                {"msr", msr},
                                {"rates", rates(spec, DType::f32)},
                                {"predicted_seconds", predicted},
                                {"measured_seconds", seconds}});
    }
  }
  const int code = world.rank() == 0 ? write_json(o.json, out) : 0;
  world.finalize();
  return code;
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) {
  using namespace elastron;
  CLI::App app("scaling to many ranks, simulated");
  bench::Options o;
  app.add_option("CONFIG", o.files, "configuration files; default: a small model");
  app.add_option("--set", o.overrides, "set a key of them")->allow_extra_args(false);
  app.add_option("--device", o.device, "measured, or a name in configs/devices, or a file")
      ->capture_default_str();
  app.add_option("--on", o.on, "device to measure: cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--links", o.links, "device file whose links are taken; default: the device's");
  app.add_option("--bandwidth", o.bandwidth, "of the network, bytes per second")
      ->check(CLI::PositiveNumber);
  app.add_option("--latency", o.latency, "of the network, seconds")->check(CLI::PositiveNumber);
  app.add_option("--ranks", o.ranks, "numbers of ranks, the first is what efficiency is against")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536));
  app.add_option("--msr", o.expected.msr, "share of sparse heads")->check(CLI::Range(0.0, 1.0));
  app.add_option("--document-tokens", o.expected.document_tokens, "mean length of a document")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40));
  app.add_option("--jitter", o.disturbances.jitter, "of a collective's time: deviation over mean")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  app.add_option("--stragglers", o.disturbances.straggler_share, "share of the ranks")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--straggler-factor", o.disturbances.straggler_factor, "times as long")
      ->check(CLI::Range(1.0, 100.0))
      ->capture_default_str();
  app.add_option("--pack-spread", o.disturbances.pack_spread,
                 "of a pack's cost: deviation over mean")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  app.add_option("--steps", o.runs.steps, "of each seed")->check(CLI::PositiveNumber);
  app.add_option("--seeds", o.runs.seeds, "of stragglers, packs, heads and jitter")
      ->check(CLI::PositiveNumber);
  app.add_option("--tokens", o.tokens, "of a pack of the small model")->check(CLI::PositiveNumber);
  app.add_option("--json", o.json, "also write the figures here");
  app.add_flag("--check", o.check, "run steps on the ranks of mpirun");
  CLI11_PARSE(app, argc, argv);
  omp_set_num_threads(1);
  try {
    return o.check ? bench::check(o) : bench::simulate(o);
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return int(e.kind());
  }
}

// Context parallelism on CPU ranks: bench/scale/run balance|memory.
//
//   mpirun -np 4 elastron_bench_context balance|memory [--json FILE]
#include <omp.h>

#include <CLI/CLI.hpp>

#include "bench/json_file.h"
#include "bench/scale/context.h"
#include "parallel/world.h"

int main(int argc, char** argv) {
  using namespace elastron;
  CLI::App app("work and memory of context-parallel ranks");
  std::string json_path;
  bench::BalanceShape shape;
  bench::MemoryShapes shapes;
  int draws = 3, windows = 2;
  app.add_option("--json", json_path, "also write the figures here");
  auto* balance = app.add_subcommand("balance", "CPU time of attention per rank");
  balance->fallthrough();
  balance->add_option("--tokens", shape.tokens, "of the document")->capture_default_str();
  balance->add_option("--msr", shape.msr, "probability of a sparse head")->capture_default_str();
  balance->add_option("--draws", draws, "of the heads")->capture_default_str();
  balance->add_option("--seed", shape.seed, "of the draws")->capture_default_str();
  balance->add_option("--windows", windows, "runs of each kind; a rank's best counts");
  auto* memory = app.add_subcommand("memory", "bytes that a training step adds");
  memory->fallthrough();
  memory->add_option("--tokens", shapes.tokens, "of the document")->capture_default_str();
  memory->add_option("--layers", shapes.layers, "of the model")->capture_default_str();
  memory->add_option("--hidden", shapes.hidden, "of the model")->capture_default_str();
  app.require_subcommand(1);
  CLI11_PARSE(app, argc, argv);
  omp_set_num_threads(1);

  parallel::World world;
  try {
    const nlohmann::json out = *balance ? bench::context_balance(shape, draws, windows, world)
                                        : bench::context_memory(shapes, world);
    const int code = world.rank() == 0 ? bench::write_json(json_path, out) : 0;
    world.finalize();
    return code;
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    world.abort(e.kind());
  }
}

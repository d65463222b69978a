// Loading a model folder against reading its files: every rank loads its slice of the weights, and
// reads as many bytes of the same files by plain calls, in turns.
//
//   mpirun -np 2 elastron_bench_loading --model DIR [--turns 5] [--json FILE]
//
// The peer reads pieces of 4 MiB into memory it keeps, as loading has to; how fast the file cache
// gives them into one buffer, which keeps nothing, is printed beside it.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "bench/json_file.h"
#include "core/file/input_file.h"
#include "model/decoder.h"
#include "model/weights/model_folder.h"
#include "parallel/world.h"

namespace elastron::bench {
namespace {

constexpr uint64_t kPiece = uint64_t(4) << 20;

// Part `rank` of `ranks` of every weight file, into one buffer, or each into memory of its own.
void read_files(const std::string& folder, int rank, int ranks, bool keep) {
  CpuDevice device;  // whose memory is new, as the weights' is
  std::vector<Tensor> kept;
  std::vector<std::byte> buffer(kPiece);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const InputFile file(entry.path());
    const uint64_t begin = file.size() * uint64_t(rank) / uint64_t(ranks);
    const uint64_t end = file.size() * uint64_t(rank + 1) / uint64_t(ranks);
    if (keep) kept.push_back(Tensor::empty({int64_t(end - begin)}, DType::u8, device));
    for (uint64_t at = begin; at < end; at += kPiece) {
      std::byte* to =
          keep ? static_cast<std::byte*>(kept.back().raw()) + (at - begin) : buffer.data();
      file.read_at(at, {to, std::min(kPiece, end - at)});
    }
  }
}

// The slowest rank's seconds.
double timed(parallel::Communicator& all, const std::function<void()>& work) {
  all.barrier();
  const auto start = std::chrono::steady_clock::now();
  work();
  all.barrier();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

nlohmann::json compare(const std::string& path, int turns, parallel::World& world) {
  const auto all = world.split(0, world.rank(), "tensor");
  const model::ModelFolder folder(path);
  double loading = 1e30, keeping = 1e30, passing = 1e30, bytes = 0;
  for (int turn = 0; turn < turns; ++turn) {
    CpuDevice device;  // whose memory is new
    loading =
        std::min(loading, timed(*all, [&] {
                   const model::Decoder decoder(
                       folder.config(), {.dtype = DType::bf16, .repack = false}, *all, device);
                   folder.load(decoder.parameters(), "", world.rank());
                   bytes = 0;
                   for (const Parameter* p : decoder.parameters())
                     bytes += double(p->value.bytes());
                 }));
    keeping =
        std::min(keeping, timed(*all, [&] { read_files(path, world.rank(), world.size(), true); }));
    passing = std::min(passing,
                       timed(*all, [&] { read_files(path, world.rank(), world.size(), false); }));
  }
  const double gigabytes = bytes * world.size() * 1e-9;
  if (world.rank() == 0) {
    std::printf(
        "%d ranks, %.2f GB: loading %.2f GB/s, reading into new memory %.2f GB/s (%.2f of "
        "it), into one buffer %.2f GB/s\n",
        world.size(), gigabytes, gigabytes / loading, gigabytes / keeping, keeping / loading,
        gigabytes / passing);
  }
  return {{"ranks", world.size()},
          {"gigabytes", gigabytes},
          {"loading_gb_per_s", gigabytes / loading},
          {"reading_gb_per_s", gigabytes / keeping},
          {"one_buffer_gb_per_s", gigabytes / passing},
          {"ratio", keeping / loading}};
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) {
  using namespace elastron;
  CLI::App app("loading a model folder against reading its files");
  std::string model, json_path;
  int turns = 5;
  app.add_option("--model", model, "a folder in bfloat16, in the file cache")->required();
  app.add_option("--turns", turns, "runs of each; the best counts")->capture_default_str();
  app.add_option("--json", json_path, "also write the figures here");
  CLI11_PARSE(app, argc, argv);
  omp_set_num_threads(1);

  parallel::World world;
  try {
    const nlohmann::json out = bench::compare(model, turns, world);
    const int code = world.rank() == 0 ? bench::write_json(json_path, out) : 0;
    world.finalize();
    return code;
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    world.abort(e.kind());
  }
}

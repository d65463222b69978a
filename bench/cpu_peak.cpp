// How much of the machine's own peak the linear layers reach.
//
//   elastron_bench_cpu_peak [--json FILE] [--threads N] [--windows N]
//
// The peak is probed next to every product, in the same process and on the same number of threads:
// the clock of a shared machine moves, a share of the peak does not. One thread is timed by its CPU
// time; several by wall time, where other jobs count against us.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "bench/dot_peak.h"
#include "bench/json_file.h"
#include "core/device.h"
#include "ops/linear.h"

namespace elastron::bench {
namespace {

double seconds_now(int threads) {
  if (threads == 1) return thread_seconds();
  using clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(clock::now().time_since_epoch()).count();
}

// FLOP/s of `threads` cores at once; each core's own best window.
double peak(DType dtype, int threads) {
  double sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
  sum += dtype == DType::bf16 ? dot_peak() : fma_peak();
  return sum;
}

Tensor random_matrix(int64_t rows, int64_t columns, DType dtype, Device& device, uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(size_t(rows * columns));
  for (float& v : values) v = uniform(engine);
  if (dtype == DType::f32) return Tensor::from(values, {rows, columns}, device);
  std::vector<bf16> narrow;
  narrow.reserve(values.size());
  for (const float v : values) narrow.emplace_back(v);
  return Tensor::from(narrow, {rows, columns}, device);
}

struct Size {
  int64_t rows, out, in;
};

nlohmann::json measure(const Size& s, DType dtype, int threads, int windows) {
  CpuDevice device;
  const Tensor x = random_matrix(s.rows, s.in, dtype, device, 1);
  const Tensor dy = random_matrix(s.rows, s.out, dtype, device, 2);
  const Tensor w = random_matrix(s.out, s.in, dtype, device, 3);
  const ops::LinearWeight frozen(w, ops::WeightForm::packed),
      trainable(w, ops::WeightForm::in_place);
  Tensor dw = Tensor::zeros({s.out, s.in}, DType::f32, device);
  const std::pair<const char*, std::function<void()>> products[] = {
      {"forward, frozen", [&] { ops::linear_forward(x, frozen); }},
      {"dgrad, frozen", [&] { ops::linear_dgrad(dy, frozen); }},
      {"forward, trainable", [&] { ops::linear_forward(x, trainable); }},
      {"dgrad, trainable", [&] { ops::linear_dgrad(dy, trainable); }},
      {"wgrad", [&] { ops::linear_wgrad(dy, x, dw); }}};
  nlohmann::json out = {{"rows", s.rows},
                        {"out", s.out},
                        {"in", s.in},
                        {"dtype", dtype_name(dtype)},
                        {"threads", threads}};
  std::printf("%-8s %6ld x %5ld x %5ld ", std::string(dtype_name(dtype)).c_str(), long(s.rows),
              long(s.out), long(s.in));
  const double flops = 2.0 * double(s.rows) * double(s.out) * double(s.in);
  const int repeats = std::max(1, int(2e8 / flops));  // tiny products: many in one window
  for (const auto& [name, work] : products) {
    work();  // compiles, packs
    double best = std::numeric_limits<double>::infinity();
    double machine = peak(dtype, threads);
    for (int i = 0; i < windows; ++i) {
      const double start = seconds_now(threads);
      for (int r = 0; r < repeats; ++r) work();
      best = std::min(best, (seconds_now(threads) - start) / repeats);
    }
    machine = std::max(machine, peak(dtype, threads));
    const double rate = flops / best;
    out[name] = {{"microseconds", 1e6 * best},
                 {"gflops", 1e-9 * rate},
                 {"peak_gflops", 1e-9 * machine},
                 {"peak_share", rate / machine}};
    std::printf(" %6.1f %4.0f%%", 1e-9 * rate, 100 * rate / machine);
    std::fflush(stdout);
  }
  std::printf("\n");
  return out;
}

int run(int argc, char** argv) {
  CLI::App app("Share of the FMA peak that the linear layers reach");
  std::string json_path;
  int windows = 10, most_threads = omp_get_num_procs();
  bool peak_only = false;
  app.add_option("--json", json_path, "also write the figures here");
  app.add_option("--threads", most_threads, "measure with 1 and with this many threads")
      ->check(CLI::PositiveNumber);
  app.add_option("--windows", windows, "runs of each kind; the best counts")
      ->check(CLI::PositiveNumber);
  app.add_flag("--peak", peak_only, "only print the float32 peak of --threads threads, GFLOP/s");
  CLI11_PARSE(app, argc, argv);

  if (peak_only) {
    omp_set_num_threads(most_threads);
    std::printf("%.1f\n", 1e-9 * peak(DType::f32, most_threads));
    return 0;
  }
  nlohmann::json out;
  std::vector<int> thread_counts = {1};
  if (most_threads > 1) thread_counts.push_back(most_threads);
  for (const int threads : thread_counts) {
    omp_set_num_threads(threads);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && !kHasDotProduct) {
        std::printf("bfloat16: this build has no dot-product instruction to compare with\n");
        continue;
      }
      const double machine = peak(dtype, threads);
      out["peaks"].push_back(
          {{"dtype", dtype_name(dtype)}, {"threads", threads}, {"gflops", 1e-9 * machine}});
      std::printf("\n%s, %d thread%s: peak %.1f GFLOP/s; GFLOP/s and share of the peak\n",
                  std::string(dtype_name(dtype)).c_str(), threads, threads == 1 ? "" : "s",
                  1e-9 * machine);
      std::printf(
          "             rows     out      in   forward froz. dgrad froz. forward tr.   "
          "dgrad tr.   wgrad\n");
      for (const Size& s : {Size{2048, 256, 256}, Size{2048, 768, 256}, Size{2048, 256, 768},
                            Size{2048, 1024, 256}, Size{2048, 2048, 1024}, Size{4096, 512, 512},
                            Size{4096, 2048, 2048}, Size{512, 256, 256}, Size{512, 768, 256},
                            Size{515, 768, 256}, Size{16, 256, 256}, Size{1, 256, 256}}) {
        out["products"].push_back(measure(s, dtype, threads, windows));
      }
    }
  }
  return write_json(json_path, out);
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) { return elastron::bench::run(argc, argv); }

// The ops between the matrix products: time per element and bytes moved per second, one thread.
//
//   elastron_bench_row_ops [--json FILE] [--windows N]
//
// Times are CPU time of one thread, best of several runs: the machine may be shared. Sizes are
// those of a layer with hidden 256 at 2,048 tokens: everything lies in the last-level cache.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "bench/fma_peak.h"
#include "bench/json_file.h"
#include "core/device.h"
#include "ops/adamw.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"

namespace elastron::bench {
namespace {

Tensor random_values(const Shape& shape, DType dtype, Device& device, uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-3, 3);
  std::vector<float> values(size_t(shape.numel()));
  for (float& v : values) v = uniform(engine);
  return ops::cast(Tensor::from(values, shape, device), dtype);
}

nlohmann::json measure(DType dtype, int windows) {
  constexpr int64_t kTokens = 2048, kHidden = 256, kHeads = 8, kHeadDim = 32, kFfn = 768,
                    kVocabulary = 1024;
  CpuDevice device;
  const auto rnd = [&](const Shape& s, uint32_t seed) {
    return random_values(s, dtype, device, seed);
  };
  Tensor x = rnd({kTokens, kHidden}, 1), dy = rnd({kTokens, kHidden}, 2), sum = x.clone();
  Tensor w = rnd({kHidden}, 3), dw = Tensor::zeros({kHidden}, DType::f32, device);
  Tensor head_x = rnd({kTokens, kHeads, kHeadDim}, 4), head_w = rnd({kHeadDim}, 5);
  Tensor gate = rnd({kTokens, kFfn}, 6), up = rnd({kTokens, kFfn}, 7), dh = rnd({kTokens, kFfn}, 8);
  Tensor logits = rnd({kTokens, kVocabulary}, 9), table = rnd({kVocabulary, kHidden}, 10);
  std::vector<int32_t> numbers(kTokens);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = int32_t(i * 37 % kVocabulary);
  const Tensor ids = Tensor::from(numbers, {kTokens}, device);
  Tensor dtable = Tensor::zeros({kVocabulary, kHidden}, DType::f32, device);
  const Tensor cosines = ops::rope_table(kHeadDim, {}, kTokens, DType::f32, device);
  const Tensor inv_rms = ops::rms_norm_forward(x, w, 1e-6).inv_rms;
  const Tensor head_inv_rms = ops::rms_norm_forward(head_x, head_w, 1e-6).inv_rms;
  const Tensor lse = Tensor::from(std::vector<float>(kTokens, 10.0f), {kTokens}, device);
  Tensor master = random_values({kFfn, kHidden}, DType::f32, device, 11), m = master.clone(),
         v = Tensor::zeros({kFfn, kHidden}, DType::f32, device), copy = ops::cast(master, dtype);
  const Tensor grad = random_values({kFfn, kHidden}, DType::f32, device, 12);

  struct Op {
    const char* name;
    int64_t elements;
    double streams;  // values of `dtype` read or written per element
    std::function<void()> work;
  };
  const int64_t rows = kTokens * kHidden, wide = kTokens * kFfn, vocab = kTokens * kVocabulary;
  const Op list[] = {
      {"rms_norm_forward", rows, 2, [&] { ops::rms_norm_forward(x, w, 1e-6); }},
      {"rms_norm_backward", rows, 4,
       [&] { ops::rms_norm_backward(dy, x, w, inv_rms, sum, nullptr); }},
      {"rms_norm_backward, dw", rows, 4,
       [&] { ops::rms_norm_backward(dy, x, w, inv_rms, sum, &dw); }},
      {"rms_norm_forward, heads", rows, 2, [&] { ops::rms_norm_forward(head_x, head_w, 1e-6); }},
      {"rms_norm_backward, heads", rows, 3,
       [&] { ops::rms_norm_backward(dy, head_x, head_w, head_inv_rms, {}, nullptr); }},
      {"rope_apply", rows, 2, [&] { ops::rope_apply(head_x, ids, cosines, false); }},
      {"swiglu_forward", wide, 3, [&] { ops::swiglu_forward(gate, up); }},
      {"swiglu_backward", wide, 5, [&] { ops::swiglu_backward(dh, gate, up, false); }},
      {"silu_forward", wide, 2, [&] { ops::silu_forward(gate); }},
      {"silu_backward", wide, 3, [&] { ops::silu_backward(dh, gate); }},
      {"add_into", rows, 3, [&] { ops::add_into(sum, dy); }},
      {"embedding_forward", rows, 2, [&] { ops::embedding_forward(ids, table, 0); }},
      {"embedding_backward", rows, 3, [&] { ops::embedding_backward(dy, ids, 0, dtable); }},
      {"cross_entropy_rows", vocab, 1, [&] { ops::cross_entropy_rows(logits, ids, 0); }},
      {"cross_entropy_backward", vocab, 2,
       [&] { ops::cross_entropy_backward(logits, ids, lse, 0, 0.5); }},
      {"sum_of_squares", rows, 1, [&] { ops::sum_of_squares(x); }},
      {"all_finite", rows, 1, [&] { ops::all_finite(x); }},
      {"cast to float32", rows, 2, [&] { ops::cast(x, DType::f32); }},
      {"adamw_step", kFfn * kHidden, 7, [&] {
         ops::adamw_step(master, grad, m, v, dtype == DType::f32 ? nullptr : &copy, {.lr = 1e-3}, 1,
                         1.0);
       }}};

  nlohmann::json out;
  std::printf("\n%s\n", std::string(dtype_name(dtype)).c_str());
  for (const Op& op : list) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < windows; ++i) {
      const double start = thread_seconds();
      op.work();
      best = std::min(best, thread_seconds() - start);
    }
    const double picoseconds = 1e12 * best / double(op.elements);
    const double bandwidth =
        op.streams * double(op.elements) * double(dtype_size(dtype)) / best * 1e-9;
    std::printf("  %-26s %9.1f us  %7.0f ps/element  %6.1f GB/s\n", op.name, 1e6 * best,
                picoseconds, bandwidth);
    out.push_back({{"op", op.name},
                   {"dtype", dtype_name(dtype)},
                   {"microseconds", 1e6 * best},
                   {"picoseconds_per_element", picoseconds},
                   {"gigabytes_per_second", bandwidth}});
  }
  return out;
}

int run(int argc, char** argv) {
  CLI::App app("The ops between the matrix products, one thread");
  std::string json_path;
  int windows = 30;
  app.add_option("--json", json_path, "also write the figures here");
  app.add_option("--windows", windows, "runs of each kind; the best counts")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  omp_set_num_threads(1);

  nlohmann::json out;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (auto& row : measure(dtype, windows)) out.push_back(std::move(row));
  }
  return write_json(json_path, out);
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) { return elastron::bench::run(argc, argv); }

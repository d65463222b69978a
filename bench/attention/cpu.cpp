// Routed attention on one core: both outputs against one dense forward, sparse heads against the
// tiles they visit, in every mode; how they grow with the sequence; XAttention's choice; backward,
// memory, and all of it against the machine's FMA peak.
//
//   elastron_bench_attention [--json FILE] [--windows N]
//
// Times are CPU time of one thread, best of several runs: the machine may be shared.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "bench/attention/heads.h"
#include "bench/fma_peak.h"
#include "bench/json_file.h"
#include "core/device.h"

namespace elastron::bench {
namespace {

using ops::Branches;

double best_seconds(int windows, const std::function<void()>& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < windows; ++i) {
    const double start = thread_seconds();
    work();
    best = std::min(best, thread_seconds() - start);
  }
  return best;
}

// Every head's gate open, or every head's closed.
class Heads {
 public:
  Heads(const HeadShape& shape, const ops::StreamingRule& rule, int windows, double peak)
      : shape_(shape), cu_{0, int32_t(shape.tokens)}, windows_(windows), peak_(peak) {
    in = topical_heads(shape, cu_, device);
    rule_ = rule;
  }
  // -> share of the dense tiles that the selected branch visits
  double set(const ops::KeySet& retrieval, const ops::KeySet& sparse, bool open) {
    in.pattern = {retrieval, sparse};
    in.gate = gates(shape_.kv_heads, open, device);
    kept = ops::routed_attention_forward(in, Branches::selected);
    const auto* visited = kept.visited.data<int64_t>();
    double sum = 0, dense = 0;
    for (int64_t h = 0; h < shape_.kv_heads; ++h) {
      sum += double(visited[h]);
      dense += double(ops::dense_tiles(in.pattern, shape_.q_heads / shape_.kv_heads, shape_.tokens,
                                       shape_.tokens));
    }
    return sum / dense;
  }
  double forward(Branches branches) {
    return best_seconds(windows_, [&] {
      kept = {};
      kept = ops::routed_attention_forward(in, branches);
    });
  }
  double backward(bool need_qkv, bool need_gate) {
    const Tensor d_out = in.q;  // any numbers
    return best_seconds(
        windows_, [&] { ops::routed_attention_backward(d_out, in, kept, need_qkv, need_gate); });
  }
  // Bytes taken during a forward with both outputs, beside these.
  double extra_bytes() {
    kept = {};
    device.reset_peak();
    const int64_t before = device.memory().in_use_bytes;
    kept = ops::routed_attention_forward(in, Branches::both);
    return double(device.memory().peak_bytes - before) -
           double(kept.selected.bytes() + kept.other.bytes() + kept.lse.bytes() +
                  kept.lse_other.bytes() + kept.visited.bytes());
  }
  double set(bool open) { return set(ops::KeySet::full(), streaming(), open); }
  ops::KeySet streaming() const { return ops::KeySet::streaming(rule_); }
  double choice(const ops::BlockChooser& chooser) {
    return best_seconds(windows_, [&] {
      ops::choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, chooser, in.gate,
                         ops::ChoiceFor::all);
    });
  }
  // Of so many products over the pairs that a row of dense attention sees, or a share of them.
  double peak_share(double seconds, int products, double share = 1) const {
    const double pairs = share * double(ops::causal_pairs(shape_.tokens));
    return 2.0 * double(shape_.q_heads * shape_.head_dim) * pairs * products / seconds / peak_;
  }

  CpuDevice device;
  ops::RoutedAttentionInput in;
  ops::RoutedAttentionOutput kept;

 private:
  HeadShape shape_;
  ops::StreamingRule rule_;
  std::vector<int32_t> cu_;
  int windows_;
  double peak_;
};

std::string title(const HeadShape& s) {
  return std::to_string(s.tokens) + " tokens, " + std::to_string(s.q_heads) + "/" +
         std::to_string(s.kv_heads) + " heads of " + std::to_string(s.head_dim) + ", " +
         std::string(dtype_name(s.dtype));
}

nlohmann::json figures(const HeadShape& s) {
  return {{"tokens", s.tokens},
          {"q_heads", s.q_heads},
          {"kv_heads", s.kv_heads},
          {"head_dim", s.head_dim},
          {"dtype", dtype_name(s.dtype)}};
}

// fa-ssa at one shape: two outputs for the price of one, sparse heads, backward, memory.
nlohmann::json one_pass(const HeadShape& s, const ops::StreamingRule& rule, int windows,
                        double peak) {
  Heads heads(s, rule, windows, peak);
  nlohmann::json out = figures(s);
  std::printf("%s\n", title(s).c_str());
  double dense = 0, both = 0;
  for (const bool open : {true, false}) {
    const double share = heads.set(open);
    const double selected = heads.forward(Branches::selected);
    if (open) dense = selected;
    const double two = heads.forward(Branches::both);
    both = std::max(both, two);
    const double backward = heads.backward(true, true);
    const double extra = heads.extra_bytes();
    const double of_peak = heads.peak_share(selected, 2, share);
    std::printf(
        "  %-6s  forward %9.2f ms, %3.0f %% of the FMA peak in tiles visited (%5.1f %%); both "
        "outputs %.3f of a dense forward;\n          backward %.2f of the forward, extra "
        "memory %.2f MB\n",
        open ? "full" : "sparse", 1e3 * selected, 100 * of_peak, 100 * share, two / dense,
        backward / selected, 1e-6 * extra);
    out[open ? "full" : "sparse"] = {{"ms", 1e3 * selected},
                                     {"tiles", share},
                                     {"peak_share", of_peak},
                                     {"both_over_dense", two / dense},
                                     {"backward_over_forward", backward / selected},
                                     {"extra_bytes", extra}};
    if (!open) {
      out["sparse_over_tiles"] = selected / (dense * share);
      std::printf("  a sparse head takes %.3f of its share of the tiles\n",
                  selected / dense / share);
    }
  }
  out["both_over_dense"] = both / dense;
  std::printf("  both outputs / one dense forward: %.3f (goal: at most 1.1)\n\n", both / dense);
  return out;
}

// Sparse heads from 4K to 64K tokens: time over tiles, against the first.
nlohmann::json lengths(HeadShape s, const ops::StreamingRule& rule, int windows, double peak) {
  nlohmann::json out;
  s.tokens = 4096;
  std::printf("streaming heads, from %s on\n", title(s).c_str());
  double first = 0;
  for (; s.tokens <= 65536; s.tokens *= 2) {
    Heads heads(s, rule, windows, peak);
    heads.set(false);
    double tiles = 0;
    for (int64_t h = 0; h < s.kv_heads; ++h) tiles += double(heads.kept.visited.data<int64_t>()[h]);
    const double seconds = heads.forward(Branches::selected);
    if (first == 0) first = seconds / tiles;
    const double ratio = seconds / tiles / first;
    std::printf(
        "  %6ld tokens  %9.2f ms  %8.0f tiles  time per tile %.3f of that at 4096 "
        "(goal: within 0.15)\n",
        long(s.tokens), 1e3 * seconds, tiles, ratio);
    out.push_back({{"tokens", s.tokens},
                   {"ms", 1e3 * seconds},
                   {"tiles", tiles},
                   {"time_per_tile_over_first", ratio}});
  }
  std::printf("\n");
  return out;
}

// The cost of each branch of every pair against one dense forward, and of XAttention's choice.
nlohmann::json modes(const HeadShape& s, const ops::StreamingRule& rule, int windows, double peak) {
  Heads heads(s, rule, windows, peak);
  nlohmann::json out = figures(s);
  heads.set(true);
  const double dense = heads.forward(Branches::selected);
  const double dense_backward = heads.backward(true, false);
  const ops::XAttentionRule xattention;
  const double choice = heads.choice(xattention);
  std::printf("modes, %s: shares of one dense forward (%.2f ms)\n", title(s).c_str(), 1e3 * dense);
  std::printf("  XAttention's choice of blocks  %.3f\n", choice / dense);
  out["choice_over_dense"] = choice / dense;
  const auto full = ops::KeySet::full(), blocks = ops::KeySet::blocks(xattention);
  for (const auto& [name, pattern] :
       {std::pair{"fa-ssa", ops::HeadPattern{full, heads.streaming()}},
        std::pair{"fa-xa", ops::HeadPattern{full, blocks}},
        std::pair{"xa-ssa", ops::HeadPattern{blocks, heads.streaming()}}}) {
    for (const bool open : {true, false}) {
      const double share = heads.set(pattern.retrieval, pattern.sparse, open);
      const bool chooses = pattern.of(open).kind == ops::KeySetKind::blocks;
      const double selected = heads.forward(Branches::selected);
      const double two = heads.forward(Branches::both);
      const double backward = heads.backward(true, true);
      std::printf(
          "  %-6s gates %-6s  tiles %.3f  selected %.3f%s  both outputs %.3f  backward %.3f "
          "of a dense one\n",
          name, open ? "open" : "closed", share, selected / dense,
          chooses ? " (with the choice)" : "", two / dense, backward / dense_backward);
      out[name][open ? "open" : "closed"] = {{"tiles", share},
                                             {"selected_over_dense", selected / dense},
                                             {"both_over_dense", two / dense},
                                             {"backward_over_dense", backward / dense_backward}};
    }
  }
  std::printf("\n");
  return out;
}

int run(int argc, char** argv) {
  CLI::App app("Routed attention on one core");
  std::string json_path;
  int windows = 3;
  app.add_option("--json", json_path, "also write the figures here");
  app.add_option("--windows", windows, "runs of each kind; the best counts")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  omp_set_num_threads(1);
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a line per figure, also into a pipe

  const double peak = fma_peak();
  std::printf("FMA peak of one core, float: %.1f GFLOP/s\n\n", 1e-9 * peak);
  const auto paper = ops::StreamingRule::from_tokens(128, 2048, 64);
  const auto small = ops::StreamingRule::from_tokens(128, 512, 64);
  nlohmann::json out = {{"fma_peak_gflops", 1e-9 * peak}};
  // One group of Qwen3-8B (4 query heads to a kv head), its eight being eight times the work; then
  // smaller shapes.
  const HeadShape group{16384, 4, 1, 128, DType::bf16};
  for (const auto& [shape, rule] :
       {std::pair{group, paper}, std::pair{HeadShape{16384, 4, 1, 128, DType::f32}, paper},
        std::pair{HeadShape{16384, 8, 8, 64, DType::f32}, paper},
        std::pair{HeadShape{4096, 8, 2, 128, DType::f32}, small},
        std::pair{HeadShape{4096, 8, 4, 32, DType::f32}, small},
        std::pair{HeadShape{512, 8, 4, 32, DType::f32}, small}}) {
    const int repeats = shape.tokens > 8192 ? windows : 5 * windows;
    out["one_pass"].push_back(one_pass(shape, rule, repeats, peak));
  }
  out["lengths"] = lengths(group, paper, windows, peak);
  out["modes"] = modes(group, paper, windows, peak);
  return write_json(json_path, out);
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) { return elastron::bench::run(argc, argv); }

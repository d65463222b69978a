// Times ops and a router-training step on one device, on request: a peer asks in turns with its own
// timings (bench/gpu/compare.py).
//
//   elastron_bench_gpu [--device cuda|cpu]
//
// A request is a line "CASE key=value ... times=N"; the answer one line of JSON: milliseconds per
// call, over N calls that are issued one after the other and waited for once, and what the case
// measured besides. What a case builds is kept for its next request; "drop" frees it.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/gpu/shard_case.h"
#include "bench/gpu/training_step.h"
#include "launch/device.h"
#include "ops/attention_means.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/routed_attention.h"

namespace elastron::bench {
namespace {

using Json = nlohmann::ordered_json;

class Request {
 public:
  explicit Request(const std::string& line) {
    std::istringstream words(line);
    words >> name_;
    for (std::string word; words >> word;) {
      const size_t at = word.find('=');
      values_[word.substr(0, at)] = at == std::string::npos ? "1" : word.substr(at + 1);
    }
  }
  const std::string& name() const { return name_; }
  double number(const std::string& key, double otherwise) const {
    const auto it = values_.find(key);
    return it == values_.end() ? otherwise : std::stod(it->second);
  }
  std::string text(const std::string& key) const {
    const auto it = values_.find(key);
    return it == values_.end() ? "" : it->second;
  }
  int64_t integer(const std::string& key, int64_t otherwise) const {
    return int64_t(number(key, double(otherwise)));
  }

 private:
  std::string name_;
  std::map<std::string, std::string> values_;
};

// One call of the case, and what to say of it.
struct Case {
  std::function<void()> call;
  std::function<Json()> notes = [] { return Json::object(); };
};

Case linear(const Request& r, Device& device) {
  const int64_t rows = r.integer("rows", 65536), out = r.integer("out", 4096);
  const int64_t in = r.integer("in", 4096);
  const bool backward = r.integer("dgrad", 0) != 0;
  const Tensor x = random_tensor({rows, backward ? out : in}, DType::bf16, 1, device);
  const auto w = std::make_shared<ops::LinearWeight>(
      random_tensor({out, in}, DType::bf16, 0.02, device), ops::WeightForm::packed);
  return {.call = [=] {
    if (backward) {
      ops::linear_dgrad(x, *w);
    } else {
      ops::linear_forward(x, *w);
    }
  }};
}

// The shapes of Qwen3-8B unless said; `full`: share of kv heads that are full, the first ones;
// `own`: all by our own kernels; `mode`, `block`, `threshold` and the like as in the configuration.
struct Attention {
  std::vector<int32_t> cu;
  ops::RoutedAttentionInput in;
  Tensor d_out;
};
ops::HeadPattern pattern_of(const Request& r) {
  router::RouterConfig config;
  config.mode = router::Mode(r.integer("mode", int64_t(router::Mode::fa_ssa)));
  config.ssa = {.sink = r.integer("sink", 128),
                .local = r.integer("local", 2048),
                .block = r.integer("block", 64)};
  config.xa = {.stride = r.integer("xa_stride", 16),
               .block = r.integer("xa_block", 128),
               .threshold = r.number("xa_threshold", 0.9)};
  return config.head_pattern();
}
std::shared_ptr<Attention> attention_case(const Request& r, Device& device) {
  const int64_t tokens = r.integer("tokens", 65536), q_heads = r.integer("q_heads", 32);
  const int64_t kv_heads = r.integer("kv_heads", 8), dim = r.integer("head_dim", 128);
  const auto it = std::make_shared<Attention>();
  it->cu = {0, int32_t(tokens)};
  std::vector<uint8_t> gate;
  for (int64_t h = 0; h < kv_heads; ++h) {
    gate.push_back(uint8_t(double(h) < std::round(r.number("full", 1) * double(kv_heads))));
  }
  // Of a file that the peer wrote, one after the other: q, k, v, and the gradient of the output.
  std::ifstream file(r.text("inputs"), std::ios::binary);
  const auto tensor = [&](int64_t heads) {
    const Shape shape{tokens, heads, dim};
    if (r.text("inputs").empty()) return random_tensor(shape, DType::bf16, 1, device);
    std::vector<bf16> values(size_t(shape.numel()));
    file.read(reinterpret_cast<char*>(values.data()),
              std::streamsize(values.size() * sizeof(bf16)));
    if (!file) throw InputError("too short", r.text("inputs"), "write q, k, v and dO");
    return Tensor::from(values, shape, device);
  };
  it->in = {.q = tensor(q_heads),
            .k = tensor(kv_heads),
            .v = tensor(kv_heads),
            .gate = Tensor::from(gate, {1, kv_heads}, device),
            .varlen = {it->cu},
            .pattern = pattern_of(r),
            .softmax_scale = 1 / std::sqrt(double(dim)),
            .full_by = r.integer("own", 0) != 0 ? ops::FullAttentionBy::own
                                                : ops::FullAttentionBy::automatic,
            .kernels = ops::AttentionKernels(
                r.integer("kernels", int64_t(ops::AttentionKernels::hopper)))};
  it->d_out = tensor(q_heads);
  return it;
}

void write(std::ofstream& file, const Tensor& tensor) {
  const auto values = tensor.to_vector<bf16>();
  file.write(reinterpret_cast<const char*>(values.data()),
             std::streamsize(values.size() * sizeof(bf16)));
}

// Notes: the share of the tiles of full attention that was not visited. `outputs`: a file for what
// was selected and, after a backward pass, the gradients of q, k and v.
Case attention(const Request& r, Device& device) {
  const auto it = attention_case(r, device);
  const bool both = r.integer("both", 0) != 0, backward = r.integer("backward", 0) != 0;
  const auto branches = both ? ops::Branches::both : ops::Branches::selected;
  const auto out =
      std::make_shared<ops::RoutedAttentionOutput>(ops::routed_attention_forward(it->in, branches));
  const auto notes = [=, path = r.text("outputs")] {
    const auto& q = it->in.q.shape();
    const int64_t kv_heads = it->in.k.size(1);
    const int64_t full = kv_heads * ops::dense_tiles(it->in.pattern, q[1] / kv_heads, q[0], q[0]);
    int64_t visited = 0;
    for (const int64_t tiles : out->visited.to_vector<int64_t>()) visited += tiles;
    if (!path.empty()) {
      std::ofstream file(path, std::ios::binary);
      write(file, out->selected);
      if (backward) {
        const auto d = ops::routed_attention_backward(it->d_out, it->in, *out, true, both);
        for (const Tensor& t : {d.q, d.k, d.v}) write(file, t);
      }
      if (!file.flush()) throw InputError("cannot write", path, "give a path that can be written");
    }
    return Json{{"esr", 1 - double(visited) / double(full)}};
  };
  if (backward) {
    return {.call = [=] { ops::routed_attention_backward(it->d_out, it->in, *out, true, both); },
            .notes = notes};
  }
  return {.call = [=] { ops::routed_attention_forward(it->in, branches); }, .notes = notes};
}

// The choice of blocks, for all heads.
Case choice(const Request& r, Device& device) {
  const auto it = attention_case(r, device);
  return {.call = [it] {
    const auto& in = it->in;
    ops::choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, *in.pattern.chooser(), in.gate,
                       ops::ChoiceFor::all);
  }};
}

// Notes: tiles of the selected branches. `rank` of `ranks`, of whom none but this one is there.
Case shard(const Request& r, Device& device) {
  const int64_t kv_heads = r.integer("kv_heads", 8);
  const auto it = std::make_shared<ShardCase>(
      ShardShape{.tokens = r.integer("tokens", 65536),
                 .q_heads = r.integer("q_heads", 32),
                 .kv_heads = kv_heads,
                 .head_dim = r.integer("head_dim", 128),
                 .sink = r.integer("sink", 128),
                 .local = r.integer("local", 2048),
                 .full = int64_t(std::round(r.number("full", 0.25) * double(kv_heads))),
                 .ulysses = r.integer("ulysses", 0) != 0,
                 .ranks = int(r.integer("ranks", 8)),
                 .rank = int(r.integer("rank", 0))},
      device);
  return {.call = [it] { it->run(); }, .notes = [it] { return Json{{"tiles", it->tiles()}}; }};
}

Case head(const Request& r, Device& device) {
  const int64_t rows = r.integer("rows", 65536), vocab = r.integer("vocab", 151936);
  const int64_t hidden = r.integer("hidden", 4096);
  const auto group = std::make_shared<parallel::SelfCommunicator>("tensor");
  const auto it = std::make_shared<parallel::VocabParallelHead>("lm_head.weight", vocab, hidden,
                                                                DType::bf16, false, *group, device);
  fill_random(it->parameter().value, 0.02);
  const Tensor x = random_tensor({rows, hidden}, DType::bf16, 1, device);
  std::vector<int32_t> targets(static_cast<size_t>(rows));
  for (size_t i = 0; i < targets.size(); ++i) targets[i] = int32_t(i * 7919 % size_t(vocab));
  const parallel::CrossEntropyOptions options{.need_gradient = true,
                                              .gradient_scale = 1 / double(rows),
                                              .chunk_rows = r.integer("chunk", 2048)};
  const int64_t held = device.memory().in_use_bytes;
  return {.call = [=, keep = group] { it->loss(x, targets, options); },
          .notes =
              [=, &device] {
                return Json{{"workspace_bytes", device.memory().peak_bytes - held}};
              }};
}

Case router(const Request& r, Device& device) {
  const auto it = std::make_shared<RouterCase>(r.integer("tokens", 65536), r.integer("kv_heads", 8),
                                               128, device);
  return {.call = [it] { it->decide(); }};
}

Case step(const Request& r, Device& device) {
  const auto it = std::make_shared<TrainingStep>(
      TrainingStepShape{.layers = r.integer("layers", 4),
                        .tokens = r.integer("tokens", 65536),
                        .msr = r.number("msr", 0.7),
                        .recompute = model::Recompute(r.integer("recompute", 2)),
                        .hidden = r.integer("hidden", 4096),
                        .intermediate = r.integer("intermediate", 12288),
                        .q_heads = r.integer("q_heads", 32),
                        .kv_heads = r.integer("kv_heads", 8),
                        .vocab = r.integer("vocab", 151936)},
      device);
  return {.call = [it] { it->run(); },
          .notes =
              [it, &device] {
                return Json{{"msr", it->msr()},
                            {"loss", it->loss()},
                            {"planned_bytes", it->planned_bytes()},
                            {"peak_bytes", device.memory().peak_bytes}};
              }};
}

int serve(Device& device) {
  const std::map<std::string, Case (*)(const Request&, Device&)> cases = {
      {"linear", linear}, {"attention", attention}, {"choice", choice}, {"shard", shard},
      {"head", head},     {"router", router},       {"step", step}};
  std::map<std::string, Case> built;
  std::string none;
  std::cout << Json{{"device", device.description()},
                    {"full_attention", ops::full_attention_library(device, none)}}
            << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const Request request(line);
    if (request.name() == "drop") {
      built.clear();
      std::cout << "{}" << std::endl;
      continue;
    }
    const auto maker = cases.find(request.name());
    if (maker == cases.end()) throw UsageError("no such case", line, "see bench/gpu/server.cpp");
    auto it = built.find(line);
    if (it == built.end()) {
      it = built.emplace(line, maker->second(request, device)).first;
      it->second.call();  // algorithms are chosen, memory is taken
    }
    const int64_t times = request.integer("times", 3);
    device.synchronize();
    device.reset_peak();
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < times; ++i) it->second.call();
    device.synchronize();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    Json answer{{"milliseconds", 1e3 * seconds / double(times)}};
    answer.update(it->second.notes());
    std::cout << answer << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) {
  using namespace elastron;
  CLI::App app("times ops on request");
  train::DeviceChoice choice = train::DeviceChoice::cuda;
  app.add_option("--device", choice, "cuda or cpu")
      ->transform(CLI::CheckedTransformer(std::map<std::string, train::DeviceChoice>{
          {"cuda", train::DeviceChoice::cuda}, {"cpu", train::DeviceChoice::cpu}}));
  CLI11_PARSE(app, argc, argv);
  try {
    return bench::serve(*launch::choose_device(choice).device);
  } catch (const Error& e) {
    std::cerr << "error: " << e.what() << std::endl;
    return int(e.kind());
  }
}

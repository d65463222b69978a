// Attention of context-parallel ranks: work of each over the mean, with gathered keys and values
// and with exchanged heads.
#include <algorithm>
#include <cstdio>
#include <random>

#include "bench/scale/context.h"
#include "bench/scale/timed_communicator.h"
#include "core/philox.h"
#include "model/attention_exchange.h"
#include "parallel/world.h"

namespace elastron::bench {

namespace {

using ops::Branches;

Tensor random_rows(int64_t rows, int64_t heads, int64_t dim, unsigned seed, Device& device) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size_t(rows * heads * dim));
  for (float& v : values) v = normal(engine);
  return Tensor::from(values, {rows, heads, dim}, device);
}

data::PackedBatch one_sequence(int64_t tokens) {
  data::PackedBatch batch;
  batch.cu_seqlens = {0, int32_t(tokens)};
  batch.range_ids.push_back({});
  batch.token_ids.resize(size_t(tokens));
  batch.targets.resize(size_t(tokens), data::kNoLabel);
  batch.positions.resize(size_t(tokens));
  return batch;
}

double max_over_mean(const std::vector<double>& of_rank) {
  double sum = 0;
  for (const double x : of_rank) sum += x;
  return *std::ranges::max_element(of_rank) * double(of_rank.size()) / sum;
}

// One rank's tensors, and how long attention takes of its CPU time without the collectives.
class Rank {
 public:
  Rank(const BalanceShape& shape, parallel::Communicator& context)
      : shape_(shape),
        context_(context),
        batch_(one_sequence(shape.tokens)),
        plan_(data::plan_context(batch_.cu_seqlens, context.size(), data::kContextBlock)) {
    const auto rank = unsigned(4 * context.rank());
    q_ = random_rows(plan_.rows, shape.q_heads, shape.head_dim, rank, device_);
    k_ = random_rows(plan_.rows, shape.kv_heads, shape.head_dim, rank + 1, device_);
    v_ = random_rows(plan_.rows, shape.kv_heads, shape.head_dim, rank + 2, device_);
    d_out_ = random_rows(plan_.rows, shape.q_heads, shape.head_dim, rank + 3, device_);
  }

  // Of all ranks: the best of so many windows each.
  struct Seconds {
    std::vector<double> forward, backward;
    std::vector<double> tiles;  // that the selected branches visit
  };
  Seconds measure(bool ulysses, Branches branches, const std::vector<uint8_t>& open, int windows) {
    const Tensor gate = Tensor::from(open, {1, int64_t(open.size())}, device_);
    const auto exchange = ulysses ? model::exchanged_heads(batch_, plan_, context_, device_)
                                  : model::gathered_attention(batch_, plan_, context_, device_);
    const auto describe = [&](ops::RoutedAttentionInput& in) {
      in.pattern.sparse.rule = ops::StreamingRule::from_tokens(128, 2048, 64);
      in.softmax_scale = 1 / std::sqrt(double(shape_.head_dim));
    };
    const auto begin = [&] {
      auto begun = exchange->begin(k_, v_);
      exchange->begin_queries(q_, begun);
      return begun;
    };
    double forward = 0, backward = 0, tiles = 0;
    for (int w = 0; w < windows; ++w) {
      context_.barrier();
      double start = own_seconds();
      auto begun = begin();
      auto attended = exchange->forward(begun, gate, describe, branches, /*again=*/false);
      const double this_forward = own_seconds() - start;
      tiles = 0;
      for (const int64_t t : attended.visited.to_vector<int64_t>()) tiles += double(t);
      start = own_seconds();
      begun = begin();
      exchange->backward(d_out_, std::move(begun), gate, describe, std::move(attended),
                         /*need_qkv=*/true, /*need_gate=*/branches == Branches::both);
      const double this_backward = own_seconds() - start;
      forward = w == 0 ? this_forward : std::min(forward, this_forward);
      backward = w == 0 ? this_backward : std::min(backward, this_backward);
    }
    return {of_all(forward), of_all(backward), of_all(tiles)};
  }

 private:
  double own_seconds() const { return thread_seconds() - context_.seconds(); }
  std::vector<double> of_all(double mine) {
    std::vector<double> all(size_t(context_.size()), 0.0);
    all[size_t(context_.rank())] = mine;
    context_.all_reduce_host(std::span(all), parallel::ReduceOp::sum);
    return all;
  }

  BalanceShape shape_;
  CpuDevice device_;
  TimedCommunicator context_;
  data::PackedBatch batch_;
  data::ContextPlan plan_;
  Tensor q_, k_, v_, d_out_;
};

}  // namespace

nlohmann::json context_balance(const BalanceShape& shape, int draws, int windows,
                               parallel::World& world) {
  const auto context = world.split(0, world.rank(), "context");
  Rank rank(shape, *context);
  const bool speaks = world.rank() == 0;
  if (speaks) {
    std::printf(
        "%d ranks, %ld tokens of one document, %ld/%ld heads of %ld, float32, sink 128, local "
        "2048; each head sparse with probability %.2f. CPU time of a rank without collectives, "
        "max/mean\n",
        world.size(), long(shape.tokens), long(shape.q_heads), long(shape.kv_heads),
        long(shape.head_dim), shape.msr);
  }
  nlohmann::json out = {{"ranks", world.size()},      {"tokens", shape.tokens},
                        {"q_heads", shape.q_heads},   {"kv_heads", shape.kv_heads},
                        {"head_dim", shape.head_dim}, {"msr", shape.msr}};
  for (const Branches branches : {Branches::selected, Branches::both}) {
    double sums[] = {0, 0}, most[] = {0, 0};  // gather, ulysses
    const char* what = branches == Branches::selected ? "selected branch" : "both branches";
    for (int draw = 0; draw < draws; ++draw) {
      const RandomStream stream(shape.seed, RandomPurpose::test, uint32_t(draw));
      std::vector<uint8_t> open;
      std::string gates;
      for (int64_t h = 0; h < shape.kv_heads; ++h) {
        open.push_back(double(stream.uniform_at(uint64_t(h))) >= shape.msr);
        gates += open.back() ? 'D' : 's';
      }
      for (const bool ulysses : {false, true}) {
        const auto s = rank.measure(ulysses, branches, open, windows);
        std::vector<double> both = s.forward;
        for (size_t r = 0; r < both.size(); ++r) both[r] += s.backward[r];
        sums[ulysses] += max_over_mean(both);
        most[ulysses] = std::max(most[ulysses], max_over_mean(both));
        const char* kind = ulysses ? "ulysses" : "gather";
        if (speaks) {
          std::printf(
              "  %-15s heads %s  %-7s  forward %.3f  backward %.3f  together %.3f  "
              "(tiles %.3f; slowest rank %.2f s)\n",
              what, gates.c_str(), kind, max_over_mean(s.forward), max_over_mean(s.backward),
              max_over_mean(both), max_over_mean(s.tiles), *std::ranges::max_element(both));
          std::fflush(stdout);
        }
        out["draws"].push_back({{"branches", what},
                                {"heads", gates},
                                {"kind", kind},
                                {"forward", s.forward},
                                {"backward", s.backward},
                                {"tiles", s.tiles},
                                {"max_over_mean", max_over_mean(both)}});
      }
    }
    if (speaks) {
      std::printf(
          "  %-15s max/mean over %d draws: gather %.3f, at most %.3f (goal 1.05); ulysses "
          "%.3f, at most %.3f\n",
          what, draws, sums[0] / draws, most[0], sums[1] / draws, most[1]);
    }
  }
  return out;
}

}  // namespace elastron::bench

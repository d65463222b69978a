#include "bench/gpu/shard_case.h"

#include <cmath>

#include "bench/gpu/training_step.h"

namespace elastron::bench {

// One rank of a group. What others would send is what this one has.
class ShardCase::Alone final : public parallel::Communicator {
 public:
  Alone(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view axis() const override { return "context"; }
  parallel::Pending all_reduce(Tensor&, parallel::ReduceOp) override { return {}; }
  parallel::Pending all_gather(const Tensor& in, Tensor& out) override {
    const int64_t rows = in.size(0);
    for (int r = 0; r < size_; ++r) {
      Tensor part = out.slice(0, r * rows, (r + 1) * rows);
      if (r != rank_) part.copy_from(in);
    }
    return {};
  }
  parallel::Pending reduce_scatter(const Tensor& in, Tensor& out) override {
    out.copy_from(in.slice(0, rank_ * out.size(0), (rank_ + 1) * out.size(0)));
    return {};
  }
  parallel::Pending all_to_all(const Tensor& in, Tensor& out) override {
    out.copy_from(in);
    return {};
  }
  parallel::Pending broadcast(Tensor&, int) override { return {}; }
  void barrier() override {}
  void all_reduce_host(std::span<double>, parallel::ReduceOp) override {}
  void all_reduce_host(std::span<int64_t>, parallel::ReduceOp) override {}
  std::vector<std::string> all_gather_host(const std::string& value) override {
    return std::vector<std::string>(size_t(size_), value);
  }
  std::string broadcast_host(const std::string& value, int) override { return value; }

 private:
  int rank_, size_;
};

ShardCase::ShardCase(const ShardShape& shape, Device& device)
    : context_(std::make_unique<Alone>(shape.rank, shape.ranks)), shape_(shape) {
  batch_.cu_seqlens = {0, int32_t(shape.tokens)};
  batch_.range_ids.push_back({});
  batch_.token_ids.resize(size_t(shape.tokens));
  batch_.targets.resize(size_t(shape.tokens), data::kNoLabel);
  batch_.positions.resize(size_t(shape.tokens));
  plan_ = data::plan_context(batch_.cu_seqlens, shape.ranks, data::kContextBlock);
  exchange_ = shape.ulysses ? model::exchanged_heads(batch_, plan_, *context_, device)
                            : model::gathered_attention(batch_, plan_, *context_, device);
  const auto rows = [&](int64_t heads) {
    return random_tensor({plan_.rows, heads, shape.head_dim}, DType::bf16, 1, device);
  };
  q_ = rows(shape.q_heads);
  k_ = rows(shape.kv_heads);
  v_ = rows(shape.kv_heads);
  d_out_ = rows(shape.q_heads);
  std::vector<uint8_t> z;
  for (int64_t h = 0; h < shape.kv_heads; ++h) z.push_back(h < shape.full);
  gate_ = Tensor::from(z, {1, shape.kv_heads}, device);
}

ShardCase::~ShardCase() = default;

void ShardCase::run() {
  const auto describe = [&](ops::RoutedAttentionInput& in) {
    in.pattern.sparse.rule = ops::StreamingRule::from_tokens(shape_.sink, shape_.local, 64);
    in.softmax_scale = 1 / std::sqrt(double(shape_.head_dim));
  };
  auto begun = exchange_->begin(k_, v_);
  exchange_->begin_queries(q_, begun);
  auto attended = exchange_->forward(begun, gate_, describe, ops::Branches::both, /*again=*/true);
  visited_ = attended.visited;
  exchange_->backward(d_out_, std::move(begun), gate_, describe, std::move(attended),
                      /*need_qkv=*/true, /*need_gate=*/true);
}

double ShardCase::tiles() const {
  double sum = 0;
  for (const int64_t t : visited_.to_vector<int64_t>()) sum += double(t);
  return sum;
}

}  // namespace elastron::bench

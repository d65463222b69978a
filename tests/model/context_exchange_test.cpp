// Attention over context-parallel ranks against the same on one: outputs and every gradient in
// float64, gathered and with exchanged heads; and the rows that a router pools.
#include <cmath>

#include "model/attention_exchange.h"
#include "router/pooled_rows.h"
#include "tests/model/batch_of_lengths.h"
#include "tests/parallel/support.h"

namespace elastron::parallel {
namespace {

constexpr int64_t kQHeads = 8, kKvHeads = 4, kDim = 16;

class ContextExchange : public WorldTest {
 protected:
  struct Result {
    Tensor out, dq, dk, dv, gate;
  };

  const Mesh& mesh() {
    if (!mesh_) mesh_.emplace(world, MeshLayout{.data = 1, .context = world.size(), .tensor = 1});
    return *mesh_;
  }
  Communicator& context() { return mesh().context(); }

  // This rank's rows of a tensor over the whole batch, zeros as padding.
  static Tensor own_rows(const Tensor& whole, const data::PackedBatch& batch,
                         const data::ContextPlan& plan, int rank) {
    Shape shape = whole.shape();
    shape.set(0, plan.rows);
    Tensor own = Tensor::zeros(shape, whole.dtype(), whole.device());
    int64_t at = 0;
    for (const data::ContextPiece& p : plan.pieces[size_t(rank)]) {
      const int64_t first = batch.cu_seqlens[size_t(p.sequence)], n = p.end - p.begin;
      own.slice(0, at, at + n).copy_from(whole.slice(0, first + p.begin, first + p.end));
      at += n;
    }
    return own;
  }

  // `again`: the backward pass goes on with what the forward pass was given.
  static Result attend(const model::AttentionExchange& exchange, const Tensor& q, const Tensor& k,
                       const Tensor& v, const Tensor& d_out, const Tensor& gate, bool again) {
    const auto describe = [](ops::RoutedAttentionInput& in) {
      in.pattern.sparse.rule = {16, 1, 3};
      in.softmax_scale = 0.25;
    };
    const auto begin = [&] {
      auto begun = exchange.begin(k, v);
      exchange.begin_queries(q, begun);
      return begun;
    };
    auto begun = begin();
    auto attended = exchange.forward(begun, gate, describe, ops::Branches::both, again);
    const Tensor out = exchange.own_rows(attended);
    if (!again) begun = begin();
    const auto d =
        exchange.backward(d_out, std::move(begun), gate, describe, std::move(attended), true, true);
    return {out, d.q, d.k, d.v, d.gate};
  }

  void expect_the_same_as_on_one_rank(const data::PackedBatch& batch) {
    const int64_t tokens = batch.tokens();
    const Tensor q = random_tensor({tokens, kQHeads, kDim}, DType::f64, 1, device);
    const Tensor k = random_tensor({tokens, kKvHeads, kDim}, DType::f64, 2, device);
    const Tensor v = random_tensor({tokens, kKvHeads, kDim}, DType::f64, 3, device);
    const Tensor d_out = random_tensor({tokens, kQHeads, kDim}, DType::f64, 4, device);
    std::vector<uint8_t> open;
    for (int64_t i = 0; i < batch.documents() * kKvHeads; ++i) open.push_back(i * 5 % 3 == 0);
    const Tensor gate = Tensor::from(open, {batch.documents(), kKvHeads}, device);
    const Result whole =
        attend(*model::local_attention(batch, device), q, k, v, d_out, gate, false);

    const auto plan = data::plan_context(batch.cu_seqlens, context().size(), 16);
    const auto mine = [&](const Tensor& t) { return own_rows(t, batch, plan, context().rank()); };
    for (const auto& [ulysses, again] :
         {std::pair{false, false}, {false, true}, {true, false}, {true, true}}) {
      SCOPED_TRACE(std::string(ulysses ? "ulysses" : "gather") + (again ? ", again" : ""));
      const auto exchange = ulysses ? model::exchanged_heads(batch, plan, context(), device)
                                    : model::gathered_attention(batch, plan, context(), device);
      const Result part = attend(*exchange, mine(q), mine(k), mine(v), mine(d_out), gate, again);
      expect_close(part.out, mine(whole.out), 1e-13, "out");
      expect_close(part.dq, mine(whole.dq), 1e-12, "dq");
      expect_close(part.dk, mine(whole.dk), 1e-12, "dk");
      expect_close(part.dv, mine(whole.dv), 1e-12, "dv");
      Tensor d_gate = part.gate;
      context().all_reduce(d_gate, ReduceOp::sum).wait();
      expect_close(d_gate, whole.gate, 1e-12, "d_gate");
    }
  }

 private:
  std::optional<Mesh> mesh_;
};

TEST_F(ContextExchange, OneLongSequence) {
  expect_the_same_as_on_one_rank(test::batch_of_lengths({500}));
}

TEST_F(ContextExchange, PacksOfRaggedSequences) {
  expect_the_same_as_on_one_rank(test::batch_of_lengths({200, 1, 0, 65, 15, 129, 16}));
}

// Fewer blocks than ranks: some have nothing.
TEST_F(ContextExchange, SequencesShorterThanTheGroup) {
  expect_the_same_as_on_one_rank(test::batch_of_lengths({7}));
  expect_the_same_as_on_one_rank(test::batch_of_lengths({3, 20, 5}));
}

TEST_F(ContextExchange, ResponsesBehindASharedPrompt) {
  data::PackedBatch batch = test::batch_of_lengths({150, 40, 70, 90, 33});
  batch.document_of = {0, 0, 0, 1, 1};
  batch.prefix_of = {-1, 0, 0, -1, 3};
  batch.range_ids.resize(2);
  expect_the_same_as_on_one_rank(batch);
}

TEST_F(ContextExchange, PooledRowsAreThoseOfTheWholeBatch) {
  const data::PackedBatch batch = test::batch_of_lengths({300, 40, 9, 120});
  const auto plan = data::plan_context(batch.cu_seqlens, context().size(), 16);
  const Tensor keys = random_tensor({batch.tokens(), kKvHeads, kDim}, DType::f64, 5, device);
  const std::vector<ops::PoolSegment> segments = {{10, 290}, {300, 340}, {341, 349}, {400, 400}};
  std::vector<int64_t> own_rows_of(size_t(batch.tokens()), -1);
  int64_t at = 0;
  for (const data::ContextPiece& p : plan.pieces[size_t(context().rank())]) {
    for (int32_t t = p.begin; t < p.end; ++t) {
      const int32_t row = batch.cu_seqlens[size_t(p.sequence)] + t;
      own_rows_of[size_t(row)] = at++;
    }
  }
  for (const ops::PoolRule& rule :
       {ops::PoolRule{}, ops::PoolRule{true, 20, false}, {true, 20, true}, {false, 20, false}}) {
    const router::PooledRows rows(
        segments, rule, [&](int64_t row) { return own_rows_of[size_t(row)]; }, context(), device);
    const Tensor mine = own_rows(keys, batch, plan, context().rank());
    const Tensor pooled = ops::boundary_pool_forward(rows.collect(mine), rows.segments(), rule);
    const Tensor whole = ops::boundary_pool_forward(keys, segments, rule);
    EXPECT_EQ(pooled.to_vector<double>(), whole.to_vector<double>());  // bit for bit

    // Each rank has a part of the gradient, as of a sum.
    const Tensor d = random_tensor(whole.shape(), DType::f64, 6, device);
    std::vector<double> part = d.to_vector<double>();
    for (double& x : part) x *= double(context().rank() + 1);
    Tensor d_whole = Tensor::zeros(keys.shape(), DType::f64, device);
    ops::boundary_pool_backward(d, segments, rule, d_whole);
    Tensor d_rows = rows.zeros_like(mine), d_own = Tensor::zeros(mine.shape(), DType::f64, device);
    ops::boundary_pool_backward(Tensor::from(part, d.shape(), device), rows.segments(), rule,
                                d_rows);
    rows.add(d_rows, d_own);
    std::vector<double> want = own_rows(d_whole, batch, plan, context().rank()).to_vector<double>();
    const int ranks = context().size(), all = ranks * (ranks + 1) / 2;
    for (double& x : want) x *= double(all);
    expect_close(d_own, Tensor::from(want, d_own.shape(), device), 1e-13, "d_keys");
  }
}

TEST(KvHeadGroups, DivideTheHeads) {
  for (const auto& [heads, groups] :
       {std::pair{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 1}, {6, 3}, {8, 4}, {10, 2}}) {
    EXPECT_EQ(model::kv_head_groups(heads, 2), groups) << heads;
  }
  EXPECT_EQ(model::kv_head_groups(8, 1), 1);
}

// The first of two ranks, whose other one has the same rows. Nothing has arrived until it is waited
// for: until then there are no numbers. Writes down when collectives begin and end.
class SlowCommunicator final : public Communicator {
 public:
  explicit SlowCommunicator(std::vector<std::string>& log) : log_(log) {}
  int rank() const override { return 0; }
  int size() const override { return 2; }
  std::string_view axis() const override { return "context"; }
  Pending all_gather(const Tensor& in, Tensor& out) override {
    Tensor other = out.slice(0, in.size(0), 2 * in.size(0));
    other.copy_from(nothing(other));
    return under_way("gather", gathers_++, [in, other]() mutable { other.copy_from(in); });
  }
  Pending reduce_scatter(const Tensor& in, Tensor& out) override {
    out.copy_from(nothing(out));
    const Tensor part = in.slice(0, 0, out.size(0));
    return under_way("sum", sums_++, [part, out]() mutable { out.copy_from(part); });
  }
  Pending all_reduce(Tensor&, ReduceOp) override { throw LogicError("not expected"); }
  Pending all_to_all(const Tensor&, Tensor&) override { throw LogicError("not expected"); }
  Pending broadcast(Tensor&, int) override { throw LogicError("not expected"); }
  void barrier() override {}
  void all_reduce_host(std::span<double>, ReduceOp) override {}
  void all_reduce_host(std::span<int64_t>, ReduceOp) override {}
  std::vector<std::string> all_gather_host(const std::string& v) override { return {v, v}; }
  std::string broadcast_host(const std::string& value, int) override { return value; }

 private:
  static Tensor nothing(const Tensor& like) {
    return Tensor::from(std::vector<double>(size_t(like.numel()), std::nan("")), like.shape(),
                        like.device());
  }
  Pending under_way(const char* what, int number, const std::function<void()>& arrive) {
    const std::string name = what + std::string(" ") + std::to_string(number);
    log_.push_back(name + " begins");
    return Pending([this, name, arrive] {
      arrive();
      log_.push_back(name + " ends");
    });
  }
  std::vector<std::string>& log_;
  int gathers_ = 0, sums_ = 0;
};

TEST(GatheredAttention, RowsTravelWhileAttentionRuns) {
  constexpr int64_t kRows = 128;
  CpuDevice device;
  data::PackedBatch batch;
  batch.cu_seqlens = {0, 2 * kRows};
  batch.range_ids.resize(1);
  const auto plan = data::plan_context(batch.cu_seqlens, 2, 16);
  ASSERT_EQ(plan.rows, kRows);
  std::vector<std::string> log;
  SlowCommunicator context(log);
  const auto exchange = model::gathered_attention(batch, plan, context, device);
  const auto random = [&](int64_t heads, uint64_t seed) {
    return random_tensor({kRows, heads, kDim}, DType::f64, seed, device);
  };
  const Tensor gate = Tensor::zeros({1, kKvHeads}, DType::u8, device);
  int attentions = 0;
  const auto describe = [&](ops::RoutedAttentionInput& in) {
    in.pattern.sparse.rule = {16, 1, 3};
    in.softmax_scale = 0.25;
    EXPECT_EQ(in.k.size(1), 1);  // only a group's keys are there
    log.push_back("attention " + std::to_string(attentions++));
  };
  auto begun = exchange->begin(random(kKvHeads, 1), random(kKvHeads, 2));
  exchange->begin_queries(random(kQHeads, 3), begun);
  EXPECT_EQ(log, std::vector<std::string>{"gather 0 begins"});
  auto attended = exchange->forward(begun, gate, describe, ops::Branches::both, /*again=*/true);
  const Tensor out = exchange->own_rows(attended);
  const auto d = exchange->backward(random(kQHeads, 4), std::move(begun), gate, describe,
                                    std::move(attended), true, true);

  const auto at = [&](const char* what, int64_t number, const char* when) {
    const std::string event = what + std::string(" ") + std::to_string(number) + when;
    const auto found = std::ranges::find(log, event);
    EXPECT_NE(found, log.end()) << event;
    return found - log.begin();
  };
  for (int64_t g = 1; g < 2 * kKvHeads; ++g) {
    EXPECT_LT(at("gather", g, " begins"), at("attention", g - 1, "")) << g;
    EXPECT_LT(at("attention", g - 1, ""), at("gather", g, " ends")) << g;
    EXPECT_LT(at("gather", g - 1, " ends"), at("gather", g, " begins")) << g;  // two at most
  }
  for (int64_t g = 1; g < kKvHeads; ++g) {
    EXPECT_LT(at("sum", g - 1, " begins"), at("attention", kKvHeads + g, "")) << g;
    EXPECT_LT(at("attention", kKvHeads + g, ""), at("sum", g - 1, " ends")) << g;
    EXPECT_LT(at("sum", g - 1, " ends"), at("sum", g, " begins")) << g;
  }
  EXPECT_EQ(at("sum", kKvHeads - 1, " ends"), int64_t(log.size()) - 1);
  for (const Tensor& t : {out, d.q, d.k, d.v, d.gate}) {
    for (const double x : t.to_vector<double>()) ASSERT_FALSE(std::isnan(x));
  }
}

}  // namespace
}  // namespace elastron::parallel

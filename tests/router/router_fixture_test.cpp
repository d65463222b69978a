// Pooling, MLPs, gate and all their gradients against tests/fixtures/router, made by PyTorch
// (tests/oracle/make_router_fixtures.py).
#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "core/file/safetensors.h"
#include "ops/elementwise.h"
#include "router/routed_layer.h"

namespace elastron::router {
namespace {

struct Case {
  const char* file;
  Kind kind;
  const char* pooling;
  DType dtype;
  RouterDType compute;
  double tolerance;  // of the largest value of each tensor
};

class RouterFixture : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& c = GetParam();
    file_ = std::make_unique<SafetensorsFile>(std::string(ELASTRON_TEST_FIXTURES) + "/router/" +
                                              c.file + ".safetensors");
    const auto settings = values("settings");
    seed_ = uint64_t(settings[0]);
    layer_ = int64_t(settings[2]);
    first_head_ = int64_t(settings[3]);
    config_.kind = c.kind;
    config_.pool = std::string(c.pooling) == "mean" ? Pool::mean : Pool::boundary;
    config_.pool_dedup = std::string(c.pooling) == "dedup";
    config_.pool_budget = int64_t(settings[4]);
    config_.task_widths[0] = config_.widths[0] = int64_t(settings[5]);
    config_.dtype = c.compute;
    if (std::string(c.file) == "options") {
      config_.task_embedding = true;
      config_.tau_schedule = TauSchedule::learned;
    }

    cu_seqlens_ = tensor("cu_seqlens").to_vector<int32_t>();
    for (const double key : values("sample_keys")) sample_keys_.push_back(uint32_t(key));
    const auto segments = tensor("segments").to_vector<int64_t>();
    for (size_t s = 0; s < sample_keys_.size(); ++s) {
      std::vector<int64_t> range_ids(8, -1);
      range_ids[2] = segments[2 * s];
      range_ids[5] = segments[2 * s + 1];
      batch_.segments.push_back(pool_segment(PoolSegmentKind::ctx_q, range_ids, cu_seqlens_[s]));
    }
    batch_.sample_keys = sample_keys_;
    task_ids_ = tensor("tasks").to_vector<int32_t>();
    batch_.task_ids = task_ids_;
    batch_.step = uint32_t(settings[1]);
    batch_.tau = values("tau")[0];
    batch_.sample = true;

    keys_ = ops::cast(tensor("keys"), c.dtype);
    router_ = std::make_unique<AttentionRouter>(layer_, keys_.size(2), 5, config_, c.dtype, seed_,
                                                true, cpu_);
    router_->append_parameters(parameters_);
    for (Parameter* p : parameters_) ops::cast_into(tensor("param." + leaf(*p)), p->value);
    routed_ = std::make_unique<RoutedLayer>(layer_, first_head_, config_, seed_, *router_);
  }

  // "task.0.weight" of "router.layers.7.task.0.weight".
  std::string leaf(const Parameter& p) const {
    const std::string prefix = "router.layers." + std::to_string(layer_) + ".";
    EXPECT_TRUE(p.name.starts_with(prefix)) << p.name;
    return p.name.substr(prefix.size());
  }
  Tensor tensor(const std::string& name) { return file_->read(name, cpu_); }
  std::vector<double> values(const std::string& name) {
    const Tensor t = tensor(name);
    if (t.dtype() == DType::i64) {
      const auto v = t.to_vector<int64_t>();
      return {v.begin(), v.end()};
    }
    return ops::cast(t, DType::f64).to_vector<double>();
  }
  void expect_close(const Tensor& got, const std::string& name) {
    const auto want = values(std::string(GetParam().pooling) + "." + name);
    const auto have = ops::cast(got, DType::f64).to_vector<double>();
    ASSERT_EQ(want.size(), have.size()) << name;
    double scale = 0;
    for (const double v : want) scale = std::max(scale, std::abs(v));
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(have[i], want[i], GetParam().tolerance * scale) << name << " " << i;
    }
  }

  CpuDevice cpu_;
  std::unique_ptr<SafetensorsFile> file_;
  RouterConfig config_;
  uint64_t seed_ = 0;
  int64_t layer_ = 0, first_head_ = 0;
  std::vector<int32_t> cu_seqlens_;
  std::vector<uint32_t> sample_keys_;
  std::vector<int32_t> task_ids_;
  RouterBatch batch_;
  Tensor keys_;
  std::unique_ptr<AttentionRouter> router_;
  ParameterList parameters_;
  std::unique_ptr<RoutedLayer> routed_;
};

TEST_P(RouterFixture, ForwardAndBackward) {
  const bool exact_gates = GetParam().compute != RouterDType::bfloat16;
  const Tensor pooled = ops::boundary_pool_forward(
      keys_, batch_.segments,
      {config_.pool == Pool::boundary, config_.pool_budget, config_.pool_dedup});
  expect_close(pooled, "pooled");
  expect_close(router_->forward(pooled, nullptr, task_ids_), "logits");

  const ops::Varlen varlen{cu_seqlens_};
  SavedRoute route, decided;
  prepare(std::span(routed_.get(), 1));
  routed_->decide(keys_, varlen.sequences(), batch_, route);
  expect_close(route.probability, "p");
  RouterBatch evaluation = batch_;
  evaluation.sample = false;
  prepare(std::span(routed_.get(), 1));
  routed_->decide(keys_, varlen.sequences(), evaluation, decided);
  if (exact_gates) {
    const std::string c = std::string(GetParam().pooling) + ".";
    EXPECT_EQ(route.gate.to_vector<uint8_t>(), tensor(c + "z").to_vector<uint8_t>());
    EXPECT_EQ(decided.gate.to_vector<uint8_t>(), tensor(c + "z_eval").to_vector<uint8_t>());
  }

  Tensor dk = Tensor::zeros(keys_.shape(), keys_.dtype(), cpu_);
  std::vector<std::string> complete;
  routed_->backward(ops::cast(tensor("d_gate"), keys_.dtype()), {}, batch_, route, &dk,
                    [&](Parameter& p) { complete.push_back(p.name); });
  expect_close(dk, "dk");
  ASSERT_EQ(complete.size(), config_.task_embedding ? 12u : 10u);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    EXPECT_EQ(complete[i], parameters_[i]->name);
    expect_close(parameters_[i]->grad, "grad." + leaf(*parameters_[i]));
  }
}

// float64 differs by the float32 noise, which two libraries' logf round differently; bfloat16 keeps
// 8 bits through about ten roundings in a row.
constexpr auto f64 = DType::f64, f32 = DType::f32;
constexpr auto kExact = RouterDType::float32, kRounded = RouterDType::bfloat16;
INSTANTIATE_TEST_SUITE_P(
    Cases, RouterFixture,
    ::testing::Values(Case{"softmax", Kind::softmax, "boundary", f64, kExact, 1e-6},
                      Case{"softmax", Kind::softmax, "dedup", f64, kExact, 1e-6},
                      Case{"softmax", Kind::softmax, "mean", f64, kExact, 1e-6},
                      Case{"softmax", Kind::softmax, "boundary", f32, kExact, 1e-5},
                      Case{"softmax", Kind::softmax, "boundary", f32, kRounded, 0.04},
                      Case{"sigmoid", Kind::sigmoid, "boundary", f64, kExact, 1e-6},
                      Case{"sigmoid", Kind::sigmoid, "dedup", f32, kExact, 1e-5},
                      Case{"sigmoid", Kind::sigmoid, "mean", f32, kRounded, 0.04},
                      Case{"options", Kind::softmax, "boundary", f64, kExact, 1e-6},
                      Case{"options", Kind::softmax, "mean", f32, kExact, 1e-5}),
    [](const auto& test) {
      const Case& c = test.param;
      return std::string(c.file) + "_" + c.pooling + "_" + std::string(dtype_name(c.dtype)) +
             (c.compute == RouterDType::bfloat16 ? "_rounded" : "");
    });

}  // namespace
}  // namespace elastron::router

// Configuration of the Attention Router: the `router` section. Defaults are the paper's
// (docs/method.md, Paper and published code).
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config/load.h"
#include "ops/boundary_pool.h"
#include "ops/hard_concrete.h"
#include "ops/head_pattern.h"

namespace elastron::router {

// Sets of keys that a head chooses from: full attention, XAttention, the top k blocks, streaming
// sparse attention.
// A mode names a pair of them, RETRIEVAL-SPARSE.
enum class Mode : uint8_t { fa_ssa, fa_xa, xa_ssa, fa_topk, topk_ssa };
enum class Kind : uint8_t { softmax, sigmoid, static_l0 };
enum class Pool : uint8_t { boundary, mean };
enum class PoolSegmentKind : uint8_t { first_token, ctx, q, a, ctx_q };
enum class Init : uint8_t { normal, kaiming, full };
// Two published routers: Elastic Attention's, and Flux Attention's (docs/method.md, Routing by layer).
enum class Preset : uint8_t { elastic, flux };
enum class Granularity : uint8_t { head, layer };
enum class RouterInput : uint8_t { key, query };
enum class Noise : uint8_t { gumbel, logistic };
enum class RouterDType : uint8_t { float32, bfloat16 };
enum class TauSchedule : uint8_t { exp_fraction, cosine, exp_step, constant, learned };
enum class DiffKind : uint8_t { abs, signed_gap };

// Forms of streaming sparse attention (docs/method.md, Modes).
enum class SsaForm : uint8_t { streaming, local, triangle };
enum class XaSelect : uint8_t { exact, reference };

struct SsaConfig {
  SsaForm form = SsaForm::streaming;
  int64_t sink = 128;
  int64_t local = 2048;
  int64_t block = 64;
  int64_t last = 128;

  ops::StreamingRule rule() const {
    if (form == SsaForm::local) return {.block = 1, .sink_blocks = 0, .local_blocks = local};
    auto rule = ops::StreamingRule::from_tokens(sink, local, block);
    if (form == SsaForm::triangle) rule.dense_tail = last;
    return rule;
  }
};

struct XaConfig {
  int64_t stride = 16;
  int64_t block = 128;
  double threshold = 0.9;
  XaSelect select = XaSelect::exact;

  ops::XAttentionRule rule() const {
    return {.stride = stride,
            .block = block,
            .threshold = threshold,
            .reference = select == XaSelect::reference};
  }
};

struct TopkConfig {
  int64_t block = 128;
  int64_t blocks = 16;
  int64_t sink_blocks = 1;

  ops::TopkRule rule() const {
    return {.block = block, .blocks = blocks, .sink_blocks = sink_blocks};
  }
};

struct RegConfig {
  bool enabled = true;  // false: Reg = mean |gap|, without lambdas (docs/method.md, Objective)
  double t_sen = 0.7;
  double t_rob = 1.0;
  std::map<std::string, double> targets;  // per task name, in place of t_sen and t_rob
  DiffKind diff = DiffKind::abs;
  std::optional<double> lambda_clamp;
};

struct TauConfig {
  double init = 1.5;
  double min = 1.0;
  double rate = 0.6;
};

// Masks of kind static-l0. Defaults are PruLong's.
struct L0Config {
  double beta = 2.0 / 3.0;
  double gamma = -0.1, zeta = 1.1;
  double init = 4.0;

  ops::HardConcrete rule() const { return {.beta = beta, .gamma = gamma, .zeta = zeta}; }
};

// Bounds of a learned temperature (docs/method.md, Router network).
inline constexpr double kLearnedTauMin = 0.3, kLearnedTauMax = 1.0;

struct RouterConfig {
  Preset preset = Preset::elastic;
  Granularity granularity = Granularity::head;
  RouterInput input = RouterInput::key;
  Mode mode = Mode::fa_ssa;
  Kind kind = Kind::softmax;
  Noise noise = Noise::gumbel;
  Pool pool = Pool::boundary;
  PoolSegmentKind pool_segment = PoolSegmentKind::ctx_q;
  int64_t pool_budget = 100;
  bool pool_dedup = false;
  std::optional<int64_t> hidden_mult;  // none once a configuration is read: widths are complete
  // Widths of the task MLP's and of the router MLP's two hidden layers, in units of head_dim.
  std::vector<int64_t> task_widths = {4, 1};
  std::vector<int64_t> widths = {4, 1};
  Init init = Init::normal;
  double init_std = 0.02;
  bool detach_input = false;
  bool task_embedding = false;
  RouterDType dtype = RouterDType::float32;
  TauSchedule tau_schedule = TauSchedule::exp_fraction;
  TauConfig tau;
  L0Config l0;
  SsaConfig ssa;
  XaConfig xa;
  TopkConfig topk;
  RegConfig reg;
  std::string force = "none";  // evaluation: see parse_force

  // What a preset gives to the keys that nobody writes.
  static RouterConfig of(Preset preset);

  // Settings of an AttentionRouter.
  bool by_layer() const { return granularity == Granularity::layer; }
  int64_t classes() const { return kind == Kind::softmax ? 2 : 1; }
  ops::PoolRule pool_rule() const { return {pool == Pool::boundary, pool_budget, pool_dedup}; }
  ops::StreamingRule streaming_rule() const { return ssa.rule(); }
  ops::HeadPattern head_pattern() const;
};

}  // namespace elastron::router

namespace elastron::config {

template <>
struct EnumNames<router::Mode> {
  static constexpr NameOf<router::Mode> names[] = {{router::Mode::fa_ssa, "fa-ssa"},
                                                   {router::Mode::fa_xa, "fa-xa"},
                                                   {router::Mode::xa_ssa, "xa-ssa"},
                                                   {router::Mode::fa_topk, "fa-topk"},
                                                   {router::Mode::topk_ssa, "topk-ssa"}};
};
template <>
struct EnumNames<router::Kind> {
  static constexpr NameOf<router::Kind> names[] = {{router::Kind::softmax, "softmax"},
                                                   {router::Kind::sigmoid, "sigmoid"},
                                                   {router::Kind::static_l0, "static-l0"}};
};
template <>
struct EnumNames<router::Noise> {
  static constexpr NameOf<router::Noise> names[] = {{router::Noise::gumbel, "gumbel"},
                                                    {router::Noise::logistic, "logistic"}};
};
template <>
struct EnumNames<router::Pool> {
  static constexpr NameOf<router::Pool> names[] = {{router::Pool::boundary, "boundary"},
                                                   {router::Pool::mean, "mean"}};
};
template <>
struct EnumNames<router::PoolSegmentKind> {
  using K = router::PoolSegmentKind;
  static constexpr NameOf<K> names[] = {{K::first_token, "first_token"},
                                        {K::ctx, "ctx"},
                                        {K::q, "q"},
                                        {K::a, "a"},
                                        {K::ctx_q, "ctx_q"}};
};
template <>
struct EnumNames<router::Init> {
  static constexpr NameOf<router::Init> names[] = {{router::Init::normal, "normal"},
                                                   {router::Init::kaiming, "kaiming"},
                                                   {router::Init::full, "full"}};
};
template <>
struct EnumNames<router::Preset> {
  using P = router::Preset;
  static constexpr NameOf<P> names[] = {{P::elastic, "elastic"}, {P::flux, "flux"}};
};
template <>
struct EnumNames<router::Granularity> {
  using G = router::Granularity;
  static constexpr NameOf<G> names[] = {{G::head, "head"}, {G::layer, "layer"}};
};
template <>
struct EnumNames<router::RouterInput> {
  using I = router::RouterInput;
  static constexpr NameOf<I> names[] = {{I::key, "key"}, {I::query, "query"}};
};
template <>
struct EnumNames<router::RouterDType> {
  using T = router::RouterDType;
  static constexpr NameOf<T> names[] = {{T::float32, "float32"}, {T::bfloat16, "bfloat16"}};
};
template <>
struct EnumNames<router::TauSchedule> {
  using T = router::TauSchedule;
  static constexpr NameOf<T> names[] = {{T::exp_fraction, "exp_fraction"},
                                        {T::cosine, "cosine"},
                                        {T::exp_step, "exp_step"},
                                        {T::constant, "constant"},
                                        {T::learned, "learned"}};
};
template <>
struct EnumNames<router::SsaForm> {
  using T = router::SsaForm;
  static constexpr NameOf<T> names[] = {
      {T::streaming, "streaming"}, {T::local, "local"}, {T::triangle, "triangle"}};
};
template <>
struct EnumNames<router::XaSelect> {
  using T = router::XaSelect;
  static constexpr NameOf<T> names[] = {{T::exact, "exact"}, {T::reference, "reference"}};
};
template <>
struct EnumNames<router::DiffKind> {
  static constexpr NameOf<router::DiffKind> names[] = {{router::DiffKind::abs, "abs"},
                                                       {router::DiffKind::signed_gap, "signed"}};
};

// Its keys stand in router/config.cpp.
extern template Table table_of(router::RouterConfig&);

}  // namespace elastron::config

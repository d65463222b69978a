// Configuration of the Attention Router: the `router` section. Defaults are the paper's (spec 11).
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "core/config/schema.h"
#include "core/limits.h"
#include "ops/boundary_pool.h"
#include "ops/hard_concrete.h"
#include "ops/routed_attention.h"

namespace elastron::router {

using Mode = ops::AttentionMode;
enum class Kind : uint8_t { softmax, sigmoid, static_l0 };
enum class Pool : uint8_t { boundary, mean };
enum class PoolSegmentKind : uint8_t { first_token, ctx, q, a, ctx_q };
enum class Init : uint8_t { normal, kaiming };
enum class Noise : uint8_t { gumbel, logistic };
enum class RouterDType : uint8_t { float32, bfloat16 };
enum class TauSchedule : uint8_t { exp_fraction, cosine, exp_step, constant, learned };
enum class DiffKind : uint8_t { abs, signed_gap };

// Forms of streaming sparse attention (spec 6).
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

struct RegConfig {
  bool enabled = true;  // false: Reg = mean |gap|, without lambdas (spec 7.1)
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

// Bounds of a learned temperature (spec 1.4).
inline constexpr double kLearnedTauMin = 0.3, kLearnedTauMax = 1.0;

struct RouterConfig {
  Mode mode = Mode::fa_ssa;
  Kind kind = Kind::softmax;
  Noise noise = Noise::gumbel;
  Pool pool = Pool::boundary;
  PoolSegmentKind pool_segment = PoolSegmentKind::ctx_q;
  int64_t pool_budget = 100;
  bool pool_dedup = false;
  int64_t hidden_mult = 4;
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
  RegConfig reg;
  std::string force = "none";  // evaluation: see parse_force

  // Of an AttentionRouter.
  int64_t classes() const { return kind == Kind::softmax ? 2 : 1; }
  ops::PoolRule pool_rule() const { return {pool == Pool::boundary, pool_budget, pool_dedup}; }
  ops::StreamingRule streaming_rule() const { return ssa.rule(); }
  // What a query sees depends on its position alone, so that it may be computed once for all
  // sequences that have the tokens up to it: a shared prompt.
  bool sees_by_position_only() const {
    return !ops::has_blocks(mode) && ssa.form != SsaForm::triangle;
  }
};

}  // namespace elastron::router

namespace elastron::config {

template <>
struct EnumNames<router::Mode> {
  static constexpr NameOf<router::Mode> names[] = {{router::Mode::fa_ssa, "fa-ssa"},
                                                   {router::Mode::fa_xa, "fa-xa"},
                                                   {router::Mode::xa_ssa, "xa-ssa"}};
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
                                                   {router::Init::kaiming, "kaiming"}};
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

template <>
struct Schema<router::SsaConfig> {
  using C = router::SsaConfig;
  static constexpr auto fields = std::tuple{
      field("form", &C::form,
            "streaming: sink and local window; local: the last `local` tokens alone; "
            "triangle: streaming, and the last queries of a sequence see all"),
      field("sink", &C::sink, between(0, kMostTokens),
            "tokens at the start of a sequence that sparse heads always see"),
      field("local", &C::local, between(1, kMostTokens),
            "most recent tokens that sparse heads see, counted in blocks"),
      field("block", &C::block, between(1, kMostTokens),
            "tokens per block: sink and local are rounded up to whole blocks"),
      field("last", &C::last, between(1, kMostTokens), "queries that see all (form: triangle)")};
};

template <>
struct Schema<router::XaConfig> {
  using C = router::XaConfig;
  static constexpr auto fields = std::tuple{
      field("stride", &C::stride, between(1, kMostTokens),
            "tokens of a group: scores are sampled one in so many"),
      field("block", &C::block, between(64, kMostTokens),
            "tokens per block, a multiple of stride and of 64"),
      field("threshold", &C::threshold, between(0, 1),
            "share of a row's estimated attention that the chosen blocks hold"),
      field("select", &C::select, "exact, or as the published code selects in its first chunk")};
  static void check(const C& c, Problems& problems) {
    if (c.block % 64 != 0 || c.block % c.stride != 0) {
      problems.add("block", "a block must be a multiple of the stride and of 64",
                   "use 64, 128 or 256 with a stride of 8, 16 or 32");
    }
  }
};

template <>
struct Schema<router::RegConfig> {
  using C = router::RegConfig;
  static constexpr auto fields = std::tuple{
      field("enabled", &C::enabled,
            "per-task multipliers; false: the mean |gap| without multipliers"),
      field("t_sen", &C::t_sen, between(0, 1),
            "target sparsity of sensitive tasks (Single QA, MultiHop QA)"),
      field("t_rob", &C::t_rob, between(0, 1), "target sparsity of the other tasks"),
      field("targets", &C::targets, "target sparsity by task name, in place of t_sen and t_rob"),
      field("diff", &C::diff, "linear term of the objective: |gap|, or the signed gap"),
      field("lambda_clamp", &C::lambda_clamp, greater_than(0), "largest value of a multiplier")};
};

template <>
struct Schema<router::TauConfig> {
  using C = router::TauConfig;
  static constexpr auto fields = std::tuple{
      field("init", &C::init, greater_than(0), "temperature at step 0"),
      field("min", &C::min, greater_than(0), "lowest temperature"),
      field("rate", &C::rate, at_least(0),
            "decay rate of the exponential schedules; share of the run that cosine falls over")};
};

template <>
struct Schema<router::L0Config> {
  using C = router::L0Config;
  static constexpr auto fields = std::tuple{
      field("beta", &C::beta, greater_than(0), "temperature of the concrete value"),
      field("gamma", &C::gamma, between(-100, 0), "the value is stretched to begin here"),
      field("zeta", &C::zeta, between(1, 100), "and to end here, then clamped to [0, 1]"),
      field("init", &C::init, between(-100, 100), "first value of the log-alphas")};
};

template <>
struct Schema<router::RouterConfig> {
  using C = router::RouterConfig;
  static constexpr auto fields = std::tuple{
      field("mode", &C::mode,
            "what a head chooses from: full attention (fa), XAttention (xa), streaming sparse "
            "attention (ssa)"),
      field(
          "kind", &C::kind,
          "two logits with softmax, or one with sigmoid; static-l0: no router but a hard-concrete "
          "mask per layer and kv head, the same for every document"),
      field("noise", &C::noise,
            "noise of the training gate; logistic removes the bias of the sigmoid kind"),
      field("pool", &C::pool, "which tokens of the segment the router reads"),
      field("pool_segment", &C::pool_segment, "segment of the document that is pooled"),
      field("pool_budget", &C::pool_budget, between(1, kMostTokens),
            "tokens read from each end of the segment by boundary pooling"),
      field("pool_dedup", &C::pool_dedup, "count tokens of overlapping ends once instead of twice"),
      field("hidden_mult", &C::hidden_mult, between(1, 256),
            "hidden width of the router's MLPs in units of head_dim"),
      field("init", &C::init, "initialisation of the router MLP"),
      field("init_std", &C::init_std, greater_than(0),
            "standard deviation of the normal initialisation"),
      field("detach_input", &C::detach_input,
            "stop the gradient from the gate into the key states"),
      field("task_embedding", &C::task_embedding,
            "add a learned vector per task to the pooled keys, in training only"),
      field("dtype", &C::dtype,
            "what the router's MLPs compute in; bfloat16 rounds a copy of the float32 weights"),
      field("tau_schedule", &C::tau_schedule,
            "how the gate's temperature falls; learned: one temperature per layer is trained "
            "instead, from tau.init on, between 0.3 and 1"),
      section("tau", &C::tau, "temperature of the training gate"),
      section("l0", &C::l0, "the hard-concrete masks (kind: static-l0)"),
      section("ssa", &C::ssa, "streaming sparse attention"),
      section("xa", &C::xa, "XAttention (modes fa-xa and xa-ssa)"),
      section("reg", &C::reg, "the sparsity objective"),
      field("force", &C::force,
            "evaluation without the router: full | sparse | static:FILE | scores:FILE:MSR | "
            "random:MSR:SEED | none")};
  static void check(const C& c, Problems& problems) {
    if (c.kind == router::Kind::softmax && c.noise == router::Noise::logistic) {
      problems.add("noise", "two logits with logistic noise are no softmax",
                   "use gumbel, or set router.kind to sigmoid");
    }
    if (c.kind == router::Kind::static_l0 && c.task_embedding) {
      problems.add("task_embedding", "static masks read no keys to add it to",
                   "set it to false, or router.kind to softmax or sigmoid");
    }
    if (c.kind == router::Kind::static_l0 && c.tau_schedule == router::TauSchedule::learned) {
      problems.add("tau_schedule",
                   "static masks have no temperature to learn: theirs is router.l0.beta",
                   "use another tau_schedule, or set router.kind to softmax or sigmoid");
    }
    if (c.tau_schedule == router::TauSchedule::learned &&
        (c.tau.init < router::kLearnedTauMin || c.tau.init > router::kLearnedTauMax)) {
      problems.add("tau.init", "a learned temperature lies between 0.3 and 1",
                   "set router.tau.init to where it begins, such as 0.7");
    }
    const bool falls = c.tau_schedule != router::TauSchedule::constant &&
                       c.tau_schedule != router::TauSchedule::learned;
    if (falls && c.tau.min > c.tau.init) {
      problems.add("tau.min", "the lowest temperature is above the first",
                   "make it at most router.tau.init");
    }
  }
};

}  // namespace elastron::config

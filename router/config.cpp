#include "router/config.h"

#include "core/config/schema.h"
#include "core/limits.h"

namespace elastron::router {

RouterConfig RouterConfig::of(Preset preset) {
  RouterConfig c;
  c.preset = preset;
  if (preset == Preset::elastic) return c;
  c.granularity = Granularity::layer;
  c.input = RouterInput::query;
  c.pool_budget = 150;
  c.task_widths = {8, 2};
  c.widths = {4, 1};
  c.init = Init::full;
  c.reg.t_sen = 0.45;
  c.reg.t_rob = 1.0;
  return c;
}

ops::HeadPattern RouterConfig::head_pattern() const {
  const auto fa = ops::KeySet::full(), streaming = ops::KeySet::streaming(ssa.rule());
  switch (mode) {
    case Mode::fa_ssa: return {fa, streaming};
    case Mode::fa_xa: return {fa, ops::KeySet::blocks(xa.rule())};
    case Mode::xa_ssa: return {ops::KeySet::blocks(xa.rule()), streaming};
    case Mode::fa_topk: return {fa, ops::KeySet::blocks(topk.rule())};
    case Mode::topk_ssa: return {ops::KeySet::blocks(topk.rule()), streaming};
  }
  throw LogicError("a mode without a pattern");
}

}  // namespace elastron::router

namespace elastron::config {

// Of a router's MLPs, in units of head_dim.
constexpr int64_t kWidest = 256;

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
struct Schema<router::TopkConfig> {
  using C = router::TopkConfig;
  static constexpr auto fields = std::tuple{
      field("block", &C::block, between(64, kMostTokens), "tokens per block, a multiple of 64"),
      field("blocks", &C::blocks, between(1, kMostTokens),
            "key blocks that a block of queries reads, its own and the sink among them"),
      field("sink_blocks", &C::sink_blocks, between(0, kMostTokens),
            "blocks at the start of a sequence that are always read")};
  static void check(const C& c, Problems& problems) {
    if (c.block % 64 != 0) {
      problems.add("block", "a block must be a multiple of 64", "use 64, 128 or 256");
    }
    if (c.sink_blocks >= c.blocks) {
      problems.add("blocks", "the sink and a query's own block are among the blocks that are read",
                   "make it more than router.topk.sink_blocks");
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
      field(
          "preset", &C::preset,
          "whose router the keys that are not written are those of: elastic, or flux, which sets "
          "granularity, input, pool_budget, task_widths, widths, init, reg.t_sen and reg.t_rob; a "
          "written key stays what it is"),
      field("granularity", &C::granularity,
            "what is decided for a document: each kv head of a layer, or the layer, all its heads "
            "alike"),
      field("input", &C::input,
            "states that the router pools, after their norm and before RoPE; of queries the mean "
            "over a kv head's group"),
      field("mode", &C::mode,
            "what a head chooses from, RETRIEVAL-SPARSE: full attention (fa), XAttention (xa), the "
            "top k blocks (topk), streaming sparse attention (ssa)"),
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
      field("hidden_mult", &C::hidden_mult, between(1, kWidest),
            "short for the first of task_widths and of widths, where these are not written"),
      field("task_widths", &C::task_widths, between(1, kWidest),
            "widths of the task MLP in units of head_dim: hidden, and what it gives"),
      field("widths", &C::widths, between(1, kWidest),
            "widths of the router MLP's two hidden layers in units of head_dim"),
      field("init", &C::init,
            "initialisation of the router MLP; full: as kaiming, with a bias of 4.5 for full "
            "attention, which P(FA) = 0.989 begins with"),
      field("init_std", &C::init_std, greater_than(0),
            "standard deviation of the normal initialisation"),
      field("detach_input", &C::detach_input,
            "stop the gradient from the gate into the states that are pooled"),
      field("task_embedding", &C::task_embedding,
            "add a learned vector per task to what is pooled, in training only"),
      field("dtype", &C::dtype,
            "what the router's MLPs compute in; bfloat16 rounds a copy of the float32 weights"),
      field("tau_schedule", &C::tau_schedule,
            "how the gate's temperature falls; learned: one temperature per layer is trained "
            "instead, from tau.init on, between 0.3 and 1"),
      section("tau", &C::tau, "temperature of the training gate"),
      section("l0", &C::l0, "the hard-concrete masks (kind: static-l0)"),
      section("ssa", &C::ssa, "streaming sparse attention"),
      section("xa", &C::xa, "XAttention (modes fa-xa and xa-ssa)"),
      section("topk", &C::topk, "the top k blocks (modes fa-topk and topk-ssa)"),
      section("reg", &C::reg, "the sparsity objective"),
      field("force", &C::force,
            "evaluation without the router: full | sparse | static:FILE | scores:FILE:MSR | "
            "random:MSR:SEED | none")};
  static void complete(C& c, Unwritten& keys) {
    C preset = C::of(c.preset);
    const std::string source = "router.preset " + std::string(enum_name(c.preset));
    keys.set("granularity", c.granularity, preset.granularity, source);
    keys.set("input", c.input, preset.input, source);
    keys.set("pool_budget", c.pool_budget, preset.pool_budget, source);
    keys.set("init", c.init, preset.init, source);
    keys.set("reg.t_sen", c.reg.t_sen, preset.reg.t_sen, source);
    keys.set("reg.t_rob", c.reg.t_rob, preset.reg.t_rob, source);
    if (!c.hidden_mult) {
      keys.set("task_widths", c.task_widths, preset.task_widths, source);
      keys.set("widths", c.widths, preset.widths, source);
    } else if (keys.has("task_widths") || keys.has("widths")) {
      preset.task_widths[0] = preset.widths[0] = *c.hidden_mult;
      keys.set("task_widths", c.task_widths, preset.task_widths, "router.hidden_mult");
      keys.set("widths", c.widths, preset.widths, "router.hidden_mult");
      c.hidden_mult.reset();
    }
  }
  static void check_network(const C& c, Problems& problems) {
    if (c.hidden_mult) {
      problems.add("hidden_mult", "router.task_widths and router.widths leave nothing to it",
                   "remove it");
    }
    for (const auto& [key, widths] :
         {std::pair{"task_widths", &c.task_widths}, {"widths", &c.widths}}) {
      if (widths->size() == 2) continue;
      problems.add(key, "an MLP of the router has two widths", "write two numbers, such as [4, 1]");
    }
    if (c.kind == router::Kind::static_l0 && c.by_layer()) {
      problems.add("granularity", "static masks have a gate for each kv head",
                   "use head, or set router.kind to softmax or sigmoid");
    }
  }
  static void check(const C& c, Problems& problems) {
    check_network(c, problems);
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

template Table table_of(router::RouterConfig&);

}  // namespace elastron::config

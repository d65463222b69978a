#include "reward/config.h"

#include <string>

#include "core/config/schema.h"
#include "core/limits.h"

namespace elastron::config {

template <>
struct Schema<reward::SimpoConfig> {
  using C = reward::SimpoConfig;
  static constexpr auto fields = std::tuple{
      field("beta", &C::beta, greater_than(0), "factor on the mean log-probability of a response"),
      field("gamma", &C::gamma, at_least(0), "what the chosen response must be ahead by"),
      field("hinge", &C::hinge, "relu(1 - x) in place of softplus(-x)"),
      field("nll", &C::nll, at_least(0),
            "weight of the chosen response's mean negative log-probability beside it")};
};
template <>
struct Schema<reward::TraceConfig> {
  using C = reward::TraceConfig;
  static constexpr auto fields = std::tuple{
      field("kinds", &C::kinds,
            "weight by kind, {sequential, mixed}-{noise, drop, delayed, contradictory}; empty: all "
            "evenly"),
      field("lengths", &C::lengths, between(64, kMostTokens),
            "words of the prompt and a trace together, drawn evenly"),
      field("entities", &C::entities, between(reward::kFewestEntities, reward::kMostEntities),
            "whom the memory is about; the coded lexicon has words for 19"),
      field("sections", &C::sections, between(reward::kFewestSections, reward::kMostSections),
            "that the story is told in; the coded lexicon has words for 16"),
      field("lexicon", &C::lexicon,
            "english, or the words of the synthetic tasks; auto: those where the tokenizer has "
            "them"),
      field("seed", &C::seed, at_least(0), "seed of the generator; evaluation uses seed + 1"),
      field("eval_pairs", &C::eval_pairs, between(1, kMostPacksPerStep),
            "pairs held out for evaluation")};
};
template <>
struct Schema<reward::RewardConfig> {
  using C = reward::RewardConfig;
  static constexpr auto fields = std::tuple{
      field("loss", &C::loss,
            "of the scalar head, or reference-free on the response's log-probability"),
      field("margin", &C::margin, "take a row's margin off the difference of its rewards"),
      field("label_smoothing", &C::label_smoothing, between(0, 0.5),
            "share of a pair's weight on the other order"),
      section("simpo", &C::simpo, "constants of loss: simpo"),
      field("overlong", &C::overlong,
            "what to do with a pair longer than data.max_tokens; auto: drop_pair in training, "
            "truncate_middle in eval-reward"),
      field("bad_rows", &C::bad_rows,
            "empty responses, chosen equal to rejected, duplicates: end, or leave out and count"),
      field("share_prompts", &C::share_prompts,
            "compute a pair's prompt once for all its responses; not in router modes with "
            "XAttention, "
            "nor with ssa.form triangle"),
      field("router", &C::router,
            "trained router whose gates the frozen attention uses: a checkpoint, or what export "
            "made; empty: full attention"),
      field("task", &C::task, "task whose sparsity target the pairs have, with a router trained"),
      field("normalize", &C::normalize,
            "evaluation: subtract the mean and divide by the deviation kept with the checkpoint"),
      field("shuffle_labels", &C::shuffle_labels,
            "training: exchange chosen and rejected in a random half of the pairs, as a control"),
      section("traces", &C::traces, "pairs made on the fly (data.format: synthetic)")};
  static void check(const C& c, Problems& problems) {
    bool known = false;
    for (const std::string& name : data::kTaskNames) known = known || name == c.task;
    if (!known) problems.add("task", "'" + c.task + "' is no task", "use one of the five tasks");
    if (c.loss == reward::LossKind::simpo && c.margin) {
      problems.add("margin", "simpo takes no row margin", "set reward.simpo.gamma");
    }
    if (c.traces.lengths.empty()) {
      problems.add("traces.lengths", "no lengths", "give at least one");
    }
  }
};

template Table table_of(reward::RewardConfig&);

}  // namespace elastron::config

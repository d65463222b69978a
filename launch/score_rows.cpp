#include "launch/score_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "core/log.h"
#include "data/tokenizer.h"
#include "model/weights/model_config.h"
#include "parallel/agree.h"
#include "reward/row_source.h"
#include "router/forced_gate.h"
#include "train/checkpoint/checkpoint.h"
#include "train/pair_scorer.h"
#include "train/reward_workload.h"
#include "train/session.h"

namespace elastron::launch {

namespace {

// What tokenising tells of a row.
struct RowSize {
  int64_t chosen = 0, rejected = 0;  // tokens of the sequences as they are fed; rejected: longest
  int64_t prompt = 0;                // of the whole prompt
  bool truncated = false, dropped = false;
};

struct Candidate {
  size_t file = 0;
  const reward::PreferenceRow* row = nullptr;
  RowSize size;
};

// Of all usable rows; the ranks share the tokenising. Throws on all ranks for a row over the limit
// under reward.overlong: error.
std::vector<Candidate> measure(const std::vector<EvaluationFile>& files,
                               const reward::PairReader& reader, int64_t limit,
                               reward::Overlong policy, parallel::Communicator& everyone) {
  constexpr size_t kValues = 5;
  std::vector<Candidate> candidates;
  for (size_t f = 0; f < files.size(); ++f) {
    for (const auto& row : files[f].content.rows) candidates.push_back({.file = f, .row = &row});
  }
  std::vector<int64_t> flat(candidates.size() * kValues, 0);
  parallel::on_all_ranks(everyone, [&] {
    for (size_t i = size_t(everyone.rank()); i < candidates.size(); i += size_t(everyone.size())) {
      const reward::PairIds ids = reader.ids(*candidates[i].row);
      const auto fitted = reward::fit_pair(ids, limit, policy, candidates[i].row->where);
      int64_t* v = &flat[i * kValues];
      v[2] = int64_t(ids.prompt.size());
      v[3] = fitted.truncated ? 1 : 0;
      v[4] = fitted.dropped ? 1 : 0;
      if (fitted.dropped) continue;
      v[0] = int64_t(fitted.sequences.front().size());
      for (size_t r = 1; r < fitted.sequences.size(); ++r) {
        v[1] = std::max(v[1], int64_t(fitted.sequences[r].size()));
      }
    }
  });
  everyone.all_reduce_host(std::span<int64_t>(flat), parallel::ReduceOp::sum);
  for (size_t i = 0; i < candidates.size(); ++i) {
    const int64_t* v = &flat[i * kValues];
    candidates[i].size = {.chosen = v[0],
                          .rejected = v[1],
                          .prompt = v[2],
                          .truncated = v[3] != 0,
                          .dropped = v[4] != 0};
  }
  return candidates;
}

// A model that scores: with the checkpoint's weights, or as its folder has them.
class Scorer {
 public:
  Scorer(const train::Config& config, Runtime& runtime, const std::string& checkpoint)
      : config_(config), session_(config_, /*training=*/false, runtime.mesh(), runtime.device()) {
    parallel::Mesh& mesh = runtime.mesh();
    if (!checkpoint.empty()) load(checkpoint, mesh);
    const auto& m = session_.decoder().config();
    router::Force forced;
    parallel::on_all_ranks(mesh.world(), [&] {
      forced = router::parse_force(config_.router.force, m.num_layers, m.kv_heads);
    });
    gates_ = forced.active ? session_.routed_by_gates(forced.gates) : session_.evaluation_gates();
  }

  train::Session& session() { return session_; }
  std::vector<router::RoutedLayer>& gates() { return gates_; }
  const std::optional<train::RewardScale>& scale() const { return scale_; }
  const std::string& origin() const { return origin_; }

 private:
  void load(const std::string& checkpoint, parallel::Mesh& mesh) {
    std::string path;
    parallel::on_all_ranks(mesh.world(), [&] { path = train::resolve_checkpoint(checkpoint); });
    const auto header = train::verify_checkpoint(path, mesh);
    parallel::on_all_ranks(mesh.world(), [&] {
      if (header.objective != config::enum_name(train::Objective::reward)) {
        throw CheckpointError("the checkpoint's objective is " + header.objective + ", not reward",
                              path, "name the checkpoint of a reward model");
      }
      if (header.backbone_fingerprint != session_.backbone_fingerprint()) {
        throw CheckpointError("the checkpoint belongs to another backbone", path,
                              "set model.path to the backbone it was trained on");
      }
    });
    train::load_tensors(path, {.parameters = session_.objective_parameters()}, mesh);
    scale_ = train::RewardScale::from(header.state);
    origin_ = fmt::format("{} at step {}", path, header.step);
  }

  train::Config config_;
  train::Session session_;
  std::vector<router::RoutedLayer> gates_;
  std::optional<train::RewardScale> scale_;
  std::string origin_ = "model folder";
};

// The backbone as its folder has it, with full attention: what an untrained head stands on.
train::Config as_it_was(train::Config config) {
  config.train.trainable = {train::Part::reward_head};
  config.reward.router.clear();
  config.router.force = "none";
  return config;
}

}  // namespace

std::vector<reward::JudgedRow> score_rows(const train::Config& config, parallel::World& world,
                                          const std::vector<EvaluationFile>& files,
                                          const std::string& out, const ScoreOptions& options,
                                          reward::EvaluationIdentity identity) {
  auto everyone = world.split(0, world.rank(), "world");
  const bool first = world.rank() == 0;
  const auto policy = config.reward.evaluation_overlong();
  std::unique_ptr<data::Tokenizer> tokenizer;
  std::optional<reward::PairReader> reader;
  int64_t made_for = 0;
  parallel::on_all_ranks(*everyone, [&] {
    tokenizer = data::load_tokenizer(config.model.path);
    const auto m = model::read_model_config(config.model.path);
    made_for = m.max_position_embeddings;
    reader.emplace(*tokenizer, m.eos_token_ids, config.model.path, config.data.chat_template);
  });
  const auto candidates = measure(files, *reader, options.limit, policy, *everyone);
  int64_t longest = 1;
  std::vector<const Candidate*> usable;
  std::vector<const reward::PreferenceRow*> rows;
  for (const Candidate& c : candidates) {
    longest = std::max({longest, c.size.chosen, c.size.rejected});
    if (c.size.dropped) continue;
    usable.push_back(&c);
    rows.push_back(c.row);
  }
  if (longest > made_for) {
    log_warning("the longest sequence has {} positions, the model was made for {}", longest,
                made_for);
  }

  train::Config sized = config;
  sized.model.max_position.value = longest;
  sized.data.max_tokens = std::max(longest, int64_t(2));
  Runtime runtime(world, sized);
  sized = train::with_stored_router(sized, runtime.mesh(), runtime.device());
  runtime.announce(world);
  Scorer scorer(sized, runtime, options.checkpoint);
  parallel::Mesh& mesh = runtime.mesh();
  parallel::on_all_ranks(mesh.world(), [&] {
    if (options.checkpoint.empty() && scorer.session().head_is_new()) {
      throw UsageError("the model has no reward head", "--checkpoint",
                       "name a checkpoint, or set model.path to a model with score.weight");
    }
  });

  // A head as it would be drawn for another run, on the backbone as it was.
  std::unique_ptr<reward::RewardHead> untrained;
  std::optional<Scorer> before;
  if (options.untrained && config.has_reward_head()) {
    const auto& m = scorer.session().decoder().config();
    parallel::on_all_ranks(mesh.world(), [&] {
      untrained = std::make_unique<reward::RewardHead>(
          m.hidden_size, accumulator_dtype(config.model.compute_dtype()),
          uint64_t(config.train.seed) + 1, /*trainable=*/false, runtime.device());
    });
    const bool moved = config.trains(train::Part::backbone) || config.has_lora() ||
                       config.has_routers() || config.router.force != "none";
    if (moved) before.emplace(as_it_was(sized), runtime, "");
  }
  train::PairScorer pairs(sized, mesh, runtime.device(), scorer.session().decoder(), scorer.gates(),
                          scorer.session().head(), before ? nullptr : untrained.get());
  std::optional<train::PairScorer> pairs_before;
  if (before) {
    pairs_before.emplace(sized, mesh, runtime.device(), before->session().decoder(),
                         before->gates(), untrained.get());
  }

  const reward::RowSource source(rows, *reader, options.limit, policy,
                                 {.share = config.reward.share_prompts,
                                  .labels = !config.has_reward_head(),
                                  .task_id = data::task_id(config.reward.task)});
  identity["judge"] = "discriminative";
  identity["model"] = scorer.session().backbone_fingerprint();
  identity["weights"] = scorer.origin();
  identity["limit"] = fmt::format("{}, {}", options.limit, config::enum_name(policy));
  identity["settings"] = fmt::format("group {}, untrained {}, normalize {}, force {}, dtype {}",
                                     pairs.group(), options.untrained, config.reward.normalize,
                                     config.router.force, config::enum_name(config.model.dtype));

  // What is to be done: whole groups, of which a row is missing.
  std::unique_ptr<reward::JudgedRowsFile> file;
  std::string missing;
  parallel::on_all_ranks(*everyone, [&] {
    if (!first) return;
    file = std::make_unique<reward::JudgedRowsFile>(out, identity, names_of(files));
    for (int64_t g = 0; g < pairs.groups(source); ++g) {
      bool done = true;
      for (int64_t i = g * pairs.group();
           i < std::min((g + 1) * pairs.group(), int64_t(usable.size())); ++i) {
        const Candidate& c = *usable[size_t(i)];
        done = done && file->done(files[c.file].name, c.row->index);
      }
      if (!done) missing += std::to_string(g) + " ";
    }
    // What cannot be scored is said in the rows too.
    const auto skip = [&](size_t f, const reward::PreferenceRow& row, const std::string& reason) {
      if (file->done(files[f].name, row.index)) return;
      auto judged = unjudged(files[f], row, 0);
      judged.skip_reason = reason;
      file->append(std::move(judged));
    };
    for (size_t f = 0; f < files.size(); ++f) {
      for (const auto& row : files[f].content.bad_rows) skip(f, row, row.left_out);
    }
    for (const Candidate& c : candidates) {
      if (c.size.dropped) skip(c.file, *c.row, "longer than the limit, or equal after tokenising");
    }
  });
  missing = everyone->broadcast_host(missing, 0);
  std::vector<int64_t> groups;
  for (size_t at = 0; at < missing.size();) {
    const size_t end = missing.find(' ', at);
    groups.push_back(std::stoll(missing.substr(at, end - at)));
    at = end + 1;
  }
  const auto rows_left = std::min(int64_t(groups.size()) * pairs.group(), source.packs());
  if (rows_left < source.packs()) {
    log_info("going on: {} of {} rows are left", rows_left, source.packs());
  }

  const auto beat = [&] { runtime.watchdog().beat(); };
  const size_t at_a_time = size_t(mesh.data().size());
  for (size_t begin = 0; begin < groups.size(); begin += at_a_time) {
    const auto now = std::span(groups).subspan(begin, std::min(at_a_time, groups.size() - begin));
    const auto scored = pairs.score(source, now, beat);
    std::vector<train::ScoredPair> base;
    if (pairs_before) base = pairs_before->score(source, now, beat);
    parallel::on_all_ranks(*everyone, [&] {
      if (!first) return;
      size_t k = 0;
      for (const int64_t g : now) {
        for (int64_t i = g * pairs.group(); i < std::min((g + 1) * pairs.group(), source.packs());
             ++i, ++k) {
          const Candidate& c = *usable[size_t(i)];
          if (file->done(files[c.file].name, c.row->index)) continue;
          const auto& p = scored[k];
          auto row =
              unjudged(files[c.file], *c.row, c.size.chosen + c.size.rejected - c.size.prompt);
          row.tokens_chosen = c.size.chosen;
          row.tokens_rejected = c.size.rejected;
          row.truncated = c.size.truncated;
          row.scores = {.chosen = p.figures.chosen, .rejected = p.figures.rejected};
          if (config.reward.normalize && scorer.scale()) {
            row.scores->chosen = scorer.scale()->apply(row.scores->chosen);
            row.scores->rejected = scorer.scale()->apply(row.scores->rejected);
          }
          if (pairs_before) {
            row.untrained = {.chosen = base[k].figures.chosen,
                             .rejected = base[k].figures.rejected};
          } else if (untrained) {
            row.untrained = {.chosen = p.untrained_chosen, .rejected = p.untrained_rejected};
          }
          file->append(std::move(row));
        }
      }
      log_info("judged {} of {} rows", file->rows().size(),
               source.packs() + int64_t(candidates.size() - usable.size()));
    });
  }
  std::vector<reward::JudgedRow> all;
  parallel::on_all_ranks(*everyone, [&] {
    if (first) all = file->finish();
  });
  return all;
}

}  // namespace elastron::launch

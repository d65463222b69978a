#include "launch/score_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/file/checksum.h"
#include "core/log.h"
#include "core/progress.h"
#include "data/tokenizer.h"
#include "launch/signals.h"
#include "model/weights/model_config.h"
#include "parallel/agree.h"
#include "reward/row_source.h"
#include "router/forced_gate.h"
#include "train/checkpoint/checkpoint.h"
#include "train/evaluate/pair_scorer.h"
#include "train/positions.h"
#include "train/reward_workload.h"
#include "train/session.h"

namespace elastron::launch {

namespace {

// What tokenising tells of a row.
struct RowSize {
  // Tokens before anything is cut; of several rejected responses the longest. The sequences are
  // prompt and response.
  int64_t prompt = 0, chosen = 0, rejected = 0;
  int64_t longest = 0;  // sequence as it is fed
  bool truncated = false;
  reward::DropReason dropped = reward::DropReason::none;
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
                               reward::Overlong policy, reward::BadRows bad_rows,
                               parallel::Communicator& everyone) {
  constexpr size_t kValues = 7;
  std::vector<Candidate> candidates;
  for (size_t f = 0; f < files.size(); ++f) {
    for (const auto& row : files[f].content.rows) candidates.push_back({.file = f, .row = &row});
  }
  const auto tokens = [](const std::vector<int32_t>& ids) { return int64_t(ids.size()); };
  std::vector<int64_t> flat(candidates.size() * kValues, 0);
  parallel::on_all_ranks(everyone, [&] {
    for (size_t i = size_t(everyone.rank()); i < candidates.size(); i += size_t(everyone.size())) {
      int64_t* v = &flat[i * kValues];
      const auto found = reader.ids(*candidates[i].row, bad_rows);
      if (!found) {
        v[5] = int64_t(reward::DropReason::not_rendered);
        continue;
      }
      const reward::PairIds& ids = *found;
      const auto fitted = reward::fit_pair(ids, limit, policy, candidates[i].row->where);
      v[0] = tokens(ids.prompt);
      v[1] = tokens(ids.chosen);
      for (const auto& rejected : ids.rejected) v[2] = std::max(v[2], tokens(rejected));
      for (const auto& sequence : fitted.sequences) v[3] = std::max(v[3], tokens(sequence));
      v[4] = fitted.truncated ? 1 : 0;
      v[5] = int64_t(fitted.drop_reason);
      v[6] = int64_t(reader.controls_in(*candidates[i].row).size());
    }
  });
  everyone.all_reduce_host(std::span<int64_t>(flat), parallel::ReduceOp::sum);
  data::ControlCount controls;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const int64_t* v = &flat[i * kValues];
    candidates[i].size = {.prompt = v[0],
                          .chosen = v[1],
                          .rejected = v[2],
                          .longest = v[3],
                          .truncated = v[4] != 0,
                          .dropped = reward::DropReason(v[5])};
    controls.add(v[6], candidates[i].row->where);
  }
  if (const auto remark = controls.text(reader.controls(), "rows"); !remark.empty()) {
    log_warning("judged rows: {}", remark);
  }
  return candidates;
}

// The checkpoint of --checkpoint, if any.
struct Trained {
  std::string path;
  train::CheckpointHeader header;
};

std::optional<Trained> find_checkpoint(const std::string& named, const std::string& run_folder,
                                       parallel::World& world) {
  if (named.empty()) return {};
  parallel::Mesh mesh(world, parallel::MeshLayout::resolve(world.size(), 0, 1, 1));
  Trained found;
  parallel::on_all_ranks(mesh.world(),
                         [&] { found.path = train::resolve_checkpoint(named, run_folder); });
  found.header = train::verify_checkpoint(found.path, mesh);
  parallel::on_all_ranks(mesh.world(), [&] {
    if (found.header.objective == config::enum_name(train::Objective::reward)) return;
    throw CheckpointError(
        "the checkpoint's objective is " + found.header.objective + ", not reward", found.path,
        "name the checkpoint of a reward model");
  });
  return found;
}

// What a model is comes from where it was trained, whatever CONFIG says; how it is evaluated comes
// from CONFIG.
train::Config as_trained(const train::Config& config, const std::optional<Trained>& trained) {
  train::Config c = config;
  if (!trained) {
    // All of it is in the folder.
    c.train.trainable = {config.has_reward_head() ? train::Part::reward_head
                                                  : train::Part::backbone};
    return c;
  }
  const auto t = config::parse_config<train::Config>(trained->header.config, trained->path);
  c.router = t.router;
  c.router.force = config.router.force;
  c.reward = t.reward;
  c.reward.overlong = config.reward.overlong;
  c.reward.bad_rows = config.reward.bad_rows;
  c.reward.normalize = config.reward.normalize;
  c.reward.share_prompts = config.reward.share_prompts;
  // Where the files of its routers are now.
  if (!config.reward.router.empty()) c.reward.router = config.reward.router;
  c.train.trainable = t.train.trainable;
  c.train.lora = t.train.lora;
  c.train.seed = t.train.seed;
  c.data.chat_template = t.data.chat_template;
  return c;
}

// A model that scores: with the checkpoint's weights, or as its folder has them.
class Scorer {
 public:
  Scorer(const train::Config& config, Runtime& runtime, const std::optional<Trained>& trained)
      : config_(config), session_(config_, /*training=*/false, runtime.mesh(), runtime.device()) {
    parallel::Mesh& mesh = runtime.mesh();
    if (trained) load(*trained, mesh);
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

 private:
  void load(const Trained& trained, parallel::Mesh& mesh) {
    parallel::on_all_ranks(mesh.world(), [&] {
      if (trained.header.backbone_fingerprint == session_.backbone_fingerprint()) return;
      throw CheckpointError("the checkpoint belongs to another backbone", trained.path,
                            "set model.path to the backbone it was trained on");
    });
    train::load_tensors(trained.path, {.parameters = session_.objective_parameters()}, mesh);
    scale_ = train::RewardScale::from(trained.header.state);
  }

  train::Config config_;
  train::Session session_;
  std::vector<router::RoutedLayer> gates_;
  std::optional<train::RewardScale> scale_;
};

// The backbone as its folder has it, with full attention: what an untrained head stands on.
train::Config as_it_was(train::Config config) {
  config.train.trainable = {train::Part::reward_head};
  config.reward.router.clear();
  config.router.force = "none";
  return config;
}

}  // namespace

namespace {

// Everything that a rank needs to score rows.
class RowScoring {
 public:
  RowScoring(const train::Config& config, parallel::World& world,
             const std::vector<EvaluationFile>& files, const ScoreOptions& options)
      : files_(files),
        options_(options),
        everyone_(world.split(0, world.rank(), "world")),
        checkpoint_(find_checkpoint(options.checkpoint, config.output.dir, world)) {
    parallel::on_all_ranks(*everyone_, [&] { config_ = as_trained(config, checkpoint_); });
    open_reader();
    const auto policy = config_.reward.evaluation_overlong();
    candidates_ =
        measure(files, *reader_, options.limit, policy, config_.reward.bad_rows, *everyone_);
    std::vector<const reward::PreferenceRow*> rows;
    std::map<std::string, int64_t> dropped;
    int64_t longest = 2;
    for (const Candidate& c : candidates_) {
      longest = std::max(longest, c.size.longest);
      if (c.size.dropped != reward::DropReason::none) {
        ++dropped[reward::drop_reason_text(c.size.dropped)];
        continue;
      }
      usable_.push_back(&c);
      rows.push_back(c.row);
    }
    parallel::on_all_ranks(*everyone_,
                           [&] { expect_rows_left(files, int64_t(rows.size()), dropped); });
    source_.emplace(
        std::move(rows), *reader_, options.limit, policy,
        reward::PairBatchOptions{.share = config_.reward.share_prompts &&
                                          config_.router.head_pattern().by_position_only(),
                                 .labels = !config_.has_reward_head(),
                                 .task_id = data::task_id(config_.reward.task)});
    config_.model.max_position.value = config_.data.max_tokens = longest;
    parallel::on_all_ranks(*everyone_, [&] {
      train::check_positions(
          config_.model.beyond_positions, *model_, "the longest sequence", longest,
          fmt::format("set --limit to {}", model_->max_position_embeddings), /*trains=*/false);
    });
    runtime_ = std::make_unique<Runtime>(world, config_);
    config_ = train::with_stored_router(config_, runtime_->mesh(), runtime_->device());
    runtime_->announce(world);
    open_models();
  }

  reward::EvaluationIdentity identity(reward::EvaluationIdentity of_rows) {
    of_rows["judge"] = "discriminative";
    of_rows["model"] = trained_->session().backbone_fingerprint();
    of_rows["weights"] =
        checkpoint_ ? fmt::format("{} at step {}", checkpoint_->path, checkpoint_->header.step)
                    : "model folder";
    of_rows["limit"] = fmt::format("{}, {}", options_.limit,
                                   config::enum_name(config_.reward.evaluation_overlong()));
    of_rows["settings"] = fmt::format("group {}, untrained {}, force {}, dtype {}", pairs_->group(),
                                      options_.untrained, config_.router.force,
                                      config::enum_name(config_.model.dtype));
    // Everything else that a score may depend on.
    train::Config model;
    model.router = config_.router;
    model.reward = config_.reward;
    model.train.trainable = config_.train.trainable;
    model.train.lora = config_.train.lora;
    model.train.seed = config_.train.seed;
    model.data.chat_template = config_.data.chat_template;
    model.data.control_tokens = reader_->controls();
    Checksum sum;
    sum.add(config::dump_config(model));
    of_rows["router, reward and adapters"] = sum.digest();
    return of_rows;
  }

  // `file`: on rank 0. -> whether all is done.
  bool run(reward::JudgedRowsFile* file) {
    on_stop_request(OnStop::note);
    parallel::on_all_ranks(*everyone_, [&] {
      if (file != nullptr) append_skipped(*file);
    });
    const auto groups = missing_groups(file);
    if (int64_t(groups.size()) < pairs_->groups(*source_)) {
      log_info("going on: {} of {} groups of rows are left", groups.size(),
               pairs_->groups(*source_));
    }
    const auto beat = [&] { runtime_->watchdog().beat(); };
    const auto at_a_time = size_t(runtime_->mesh().data().size());
    Progress progress(everyone_->rank() == 0);
    for (size_t begin = 0; begin < groups.size(); begin += at_a_time) {
      const auto now = std::span(groups).subspan(begin, std::min(at_a_time, groups.size() - begin));
      if (file != nullptr) {
        progress.show("judging", begin, groups.size(),
                      fmt::format("{} of {} rows", file->rows().size(), all_rows()));
      }
      auto scored = pairs_->score(*source_, now, beat);
      if (pairs_before_) {
        const auto base = pairs_before_->score(*source_, now, beat);
        for (size_t i = 0; i < scored.size(); ++i) {
          scored[i].untrained_chosen = base[i].figures.chosen;
          scored[i].untrained_rejected = base[i].figures.rejected;
        }
      }
      parallel::on_all_ranks(*everyone_, [&] {
        if (file != nullptr) append(*file, now, scored);
      });
      const bool more = begin + at_a_time < groups.size();
      if (more && parallel::on_any_rank(*everyone_, stop_requested())) return false;
    }
    return true;
  }

 private:
  void open_reader() {
    parallel::on_all_ranks(*everyone_, [&] {
      const std::string& folder = config_.model.path;
      tokenizer_ = data::load_tokenizer(folder);
      model_ = model::read_model_config(folder);
      model_->end_of_document();  // there must be one
      auto controls = config_.data.control_tokens;
      if (controls == data::ControlTokens::automatic) controls = data::ControlTokens::text;
      reader_.emplace(*tokenizer_, model_->eos_token_ids, folder, config_.data.chat_template,
                      controls, model_->classifier_padding());
    });
  }

  void open_models() {
    parallel::Mesh& mesh = runtime_->mesh();
    trained_.emplace(config_, *runtime_, checkpoint_);
    parallel::on_all_ranks(mesh.world(), [&] {
      if (checkpoint_ || !trained_->session().head_is_new()) return;
      throw UsageError("the model has no reward head", "--checkpoint",
                       "name a checkpoint, or set model.path to a model with score.weight");
    });
    // A head as it would be drawn for another run, on the backbone as it was.
    if (options_.untrained && config_.has_reward_head()) {
      parallel::on_all_ranks(mesh.world(), [&] {
        untrained_ = std::make_unique<reward::RewardHead>(
            trained_->session().decoder().config().hidden_size,
            accumulator_dtype(config_.model.compute_dtype()), uint64_t(config_.train.seed) + 1,
            /*trainable=*/false, runtime_->device());
      });
      const bool moved = config_.trains(train::Part::backbone) || config_.has_lora() ||
                         config_.has_routers() || config_.router.force != "none";
      if (moved) before_.emplace(as_it_was(config_), *runtime_, std::nullopt);
    }
    const auto scorer = [&](Scorer& model, const reward::RewardHead* head,
                            const reward::RewardHead* other) {
      return train::PairScorer(config_, mesh, runtime_->device(), model.session().decoder(),
                               model.gates(), head, other);
    };
    pairs_.emplace(
        scorer(*trained_, trained_->session().head(), before_ ? nullptr : untrained_.get()));
    if (before_) pairs_before_.emplace(scorer(*before_, untrained_.get(), nullptr));
  }

  // Usable rows of a group.
  std::span<const Candidate* const> rows_of(int64_t group) const {
    const auto begin = size_t(group * pairs_->group());
    return std::span(usable_).subspan(begin,
                                      std::min(size_t(pairs_->group()), usable_.size() - begin));
  }

  // Those of which a row is missing: they are scored whole, so that every row has the same company
  // as in an evaluation that was not interrupted.
  std::vector<int64_t> missing_groups(const reward::JudgedRowsFile* file) {
    std::string missing;  // a letter per group
    if (file != nullptr) {
      for (int64_t g = 0; g < pairs_->groups(*source_); ++g) {
        const bool done = std::ranges::all_of(rows_of(g), [&](const Candidate* c) {
          return file->done(files_[c->file].name, c->row->index);
        });
        missing += done ? '-' : '+';
      }
    }
    missing = everyone_->broadcast_host(missing, 0);
    std::vector<int64_t> groups;
    for (size_t g = 0; g < missing.size(); ++g) {
      if (missing[g] == '+') groups.push_back(int64_t(g));
    }
    return groups;
  }

  // What cannot be scored stands in the rows too, with the reason.
  void append_skipped(reward::JudgedRowsFile& file) const {
    const auto skip = [&](const EvaluationFile& of, const reward::PreferenceRow& row,
                          const std::string& reason, int64_t tokens) {
      if (file.done(of.name, row.index)) return;
      auto judged = unjudged(of, row, tokens);
      judged.skip_reason = reason;
      file.append(std::move(judged));
    };
    for (const EvaluationFile& of : files_) {
      for (const auto& row : of.content.bad_rows) skip(of, row, row.left_out, 0);
    }
    for (const Candidate& c : candidates_) {
      if (c.size.dropped == reward::DropReason::none) continue;
      skip(files_[c.file], *c.row, reward::drop_reason_text(c.size.dropped), all_tokens(c));
    }
  }

  void append(reward::JudgedRowsFile& file, std::span<const int64_t> groups,
              const std::vector<train::ScoredPair>& scored) const {
    auto next = scored.begin();
    for (const int64_t group : groups) {
      for (const Candidate* c : rows_of(group)) {
        const train::ScoredPair& pair = *next++;
        if (!file.done(files_[c->file].name, c->row->index)) file.append(judged(*c, pair));
      }
    }
  }

  reward::JudgedRow judged(const Candidate& c, const train::ScoredPair& pair) const {
    auto row = unjudged(files_[c.file], *c.row, all_tokens(c));
    row.tokens_chosen = c.size.prompt + c.size.chosen;
    row.tokens_rejected = c.size.prompt + c.size.rejected;
    row.truncated = c.size.truncated;
    row.scores = {.chosen = pair.figures.chosen, .rejected = pair.figures.rejected};
    if (config_.reward.normalize && trained_->scale()) {
      row.scores = {.chosen = trained_->scale()->apply(pair.figures.chosen),
                    .rejected = trained_->scale()->apply(pair.figures.rejected)};
    }
    if (untrained_) {
      row.untrained = {.chosen = pair.untrained_chosen, .rejected = pair.untrained_rejected};
    }
    return row;
  }

  // By which a row belongs to a length class.
  static int64_t all_tokens(const Candidate& c) {
    return c.size.prompt + c.size.chosen + c.size.rejected;
  }

  int64_t all_rows() const {
    int64_t rows = 0;
    for (const EvaluationFile& file : files_) rows += file.content.lines();
    return rows;
  }

  const std::vector<EvaluationFile>& files_;
  const ScoreOptions& options_;
  std::unique_ptr<parallel::Communicator> everyone_;
  std::optional<Trained> checkpoint_;
  train::Config config_;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::optional<reward::PairReader> reader_;
  std::optional<model::ModelConfig> model_;
  std::vector<Candidate> candidates_;
  std::vector<const Candidate*> usable_;
  std::optional<reward::RowSource> source_;
  std::unique_ptr<Runtime> runtime_;
  std::optional<Scorer> trained_, before_;
  std::unique_ptr<reward::RewardHead> untrained_;
  std::optional<train::PairScorer> pairs_, pairs_before_;
};

}  // namespace

std::optional<std::vector<reward::JudgedRow>> score_rows(
    const train::Config& config, parallel::World& world, const std::vector<EvaluationFile>& files,
    const std::string& out, const ScoreOptions& options, reward::EvaluationIdentity identity) {
  auto everyone = world.split(0, world.rank(), "world");
  RowScoring scoring(config, world, files, options);
  std::unique_ptr<reward::JudgedRowsFile> file;
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() != 0) return;
    file = std::make_unique<reward::JudgedRowsFile>(out, scoring.identity(std::move(identity)),
                                                    names_of(files));
  });
  if (!scoring.run(file.get())) return {};
  std::vector<reward::JudgedRow> rows;
  parallel::on_all_ranks(*everyone, [&] {
    if (file) rows = file->finish();
  });
  return rows;
}

}  // namespace elastron::launch

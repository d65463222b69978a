#include "train/run.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/file/exists.h"
#include "core/log.h"
#include "parallel/agree.h"
#include "train/checkpoint/folder.h"
#include "train/workload/registry.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {

fs::path whole_path(const std::string& path) {
  std::error_code error;
  return fs::weakly_canonical(path, error);
}

// Files that the run reads, beside where it begins, may lie in the folder whose files move.
std::vector<std::string> inputs(const Config& config) {
  std::vector<std::string> paths = {config.model.path, config.reward.router};
  try {  // a run's folder, or a word in it, stands for a checkpoint
    paths.push_back(resolve_checkpoint(config.reward.router, config.output.dir));
  } catch (const Error&) {  // it is none: an exported router
  }
  // static:FILE, scores:FILE:MSR
  const std::string& force = config.router.force;
  if (const size_t colon = force.find(':'); colon != force.npos) {
    const size_t end = force.starts_with("scores:") ? force.rfind(':') : force.size();
    paths.push_back(force.substr(colon + 1, end - colon - 1));
  }
  paths.insert(paths.end(), config.data.train.begin(), config.data.train.end());
  paths.insert(paths.end(), config.data.eval.begin(), config.data.eval.end());
  return paths;
}

// Tells a checkpoint from others that may come under its name.
std::string identity(const CheckpointHeader& header) {
  return fmt::format("step {}, {} tokens, of run {} on backbone {}", header.step,
                     header.tokens_seen, header.run.empty() ? "-" : header.run,
                     header.backbone_fingerprint);
}

}  // namespace

Run::Run(const Config& config, const ResumeRequest& request, parallel::Mesh& mesh,
         const OnSlice& on_slice)
    : config_(config), mesh_(mesh), on_slice_(on_slice) {
  parallel::Communicator& world = mesh.world();
  std::string text;
  parallel::on_all_ranks(world, [&] {
    if (world.rank() != 0) return;
    const std::string result = objective_of(config).result_folder(config);
    if (!result.empty() && whole_path(config.model.path) == whole_path(result)) {
      throw UsageError("the trained backbone would be written over the one that it is made from",
                       "model.path", "set another output.dir");
    }
    folder_.emplace(config.output.dir);
    if (folder_->record()) text = run_text(*folder_->record(), {});
  });
  text = world.broadcast_host(text, 0);
  Removal none;
  if (!text.empty()) before_ = parse_run(text, config.output.dir, none);
  decide(request);
}

void Run::decide(const ResumeRequest& request) {
  const bool again = before_ && !request.job.empty() && before_->job == request.job;
  if (request.mode == ResumeMode::automatic || again) {
    go_on();
    if (!is_new_) return;
  } else if (request.mode == ResumeMode::none) {
    begin_anew({});
  } else {
    const VerifiedCheckpoint named = verified(request.path, config_.output.dir);
    const fs::path own_place = whole_path(config_.output.dir + "/checkpoints");
    if (whole_path(named.path).parent_path() == own_place && is_own(named)) {
      go_on_from(named);
      goes_back_ = true;
    } else {
      begin_anew(named);
    }
  }
  record_.job = request.job;
}

// From the newest checkpoint; a run without one starts again from where it began.
void Run::go_on() {
  const auto newest = newest_whole(
      config_.output.dir + "/checkpoints", mesh_,
      [this](const VerifiedCheckpoint& c) { return is_own(c); }, on_slice_);
  if (newest) {
    go_on_from(*newest);
  } else if (!before_ || before_->saved) {
    if (before_) log_warning("run {} has lost its checkpoints: a new run begins", before_->id);
    begin_anew({});
  } else {
    record_ = *before_;
    if (record_.start.empty()) return;
    parallel::on_all_ranks(mesh_.world(), [&] {
      if (exists(record_.start)) return;
      throw CheckpointError("the checkpoint that this run began with is gone", record_.start,
                            "bring it back, or begin anew with --resume none");
    });
    from_ = verified(record_.start, "");
    parallel::on_all_ranks(mesh_.world(), [&] {
      if (identity(from_->header) == record_.start_is) return;
      throw CheckpointError(
          "another checkpoint is in the place of the one that this run began with", record_.start,
          "bring that back, or begin anew with --resume none");
    });
  }
}

void Run::go_on_from(const VerifiedCheckpoint& own) {
  from_ = own;
  goes_on_ = true;
  if (before_) {
    record_ = *before_;
  } else {
    // It is of version 0.1, was imported, or has lost its record.
    record_ = new_run_of_all_ranks();
    if (!own.header.run.empty()) record_.id = own.header.run;
    record_.takes_unmarked = true;
  }
  record_.saved = true;
}

void Run::begin_anew(const std::optional<VerifiedCheckpoint>& from) {
  record_ = new_run_of_all_ranks();
  from_ = from;
  is_new_ = true;
  if (!from) return;
  record_.start = whole_path(from->path).string();
  record_.start_is = identity(from->header);
}

VerifiedCheckpoint Run::verified(const std::string& named, const std::string& run_folder) {
  VerifiedCheckpoint found;
  parallel::on_all_ranks(mesh_.world(),
                         [&] { found.path = resolve_checkpoint(named, run_folder); });
  found.header = verify_checkpoint(found.path, mesh_, on_slice_);
  return found;
}

RunRecord Run::new_run_of_all_ranks() {
  parallel::Communicator& world = mesh_.world();
  Removal none;
  return parse_run(world.broadcast_host(run_text(new_run(), none), 0), config_.output.dir, none);
}

bool Run::is_own(const VerifiedCheckpoint& checkpoint) const {
  // Without a record the folder is of the run whose checkpoints are in it.
  if (!before_) return true;
  const std::string& run = checkpoint.header.run;
  return run.empty() ? before_->takes_unmarked : run == before_->id;
}

void Run::begin() {
  std::optional<std::string> moved, later;
  parallel::on_all_ranks(mesh_.world(), [&] {
    if (!folder_) return;
    if (is_new_) {
      auto needed = inputs(config_);
      needed.push_back(record_.start);
      moved = folder_->begin(record_, needed);
      record_ = *folder_->record();
      return;
    }
    // Newer checkpoints are of steps that this run takes again.
    if (goes_back_) point_at(folder_->checkpoints() + "/latest", from_->header.step);
    write_record();
    later = folder_->set_aside_after(from_ ? from_->header.step : 0);
  });
  if (later) log_info("checkpoints of later steps are in {} now", *later);
  if (moved)
    log_info("the files of an earlier run in {} are in {} now", config_.output.dir, *moved);
  log_info("run {} {} in {}", record_.id, is_new_ ? "begins" : "goes on", config_.output.dir);
}

void Run::saved() {
  parallel::on_all_ranks(mesh_.world(), [&] {
    record_.saved = true;
    if (folder_) write_record();
  });
}

void Run::write_record() {
  const auto& known = folder_->record();
  if (!known || run_text(*known, {}) != run_text(record_, {})) folder_->update(record_);
}

}  // namespace elastron::train

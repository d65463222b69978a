// Which run a start of the program begins or goes on with, and from which checkpoint.
//
//   Run run(config, request, mesh);   // locks the folder, looks, changes nothing
//   ... load what may fail: model, data, the checkpoint's tensors ...
//   run.begin();                      // the folder is this run's
#pragma once
#include <optional>
#include <string>

#include "parallel/mesh.h"
#include "train/checkpoint/checkpoint.h"
#include "train/config.h"
#include "train/run_folder.h"

namespace elastron::train {

enum class ResumeMode : uint8_t { automatic, none, path };

struct ResumeRequest {
  ResumeMode mode = ResumeMode::automatic;
  std::string path;  // mode path
  // Among several starts with the same text only the first does what `mode` says; the others go on
  // with what it began.
  std::string job;
};

class Run {
 public:
  // Collective. Throws on all ranks.
  //   automatic: the folder's run, from its newest whole checkpoint, or, if it has none yet, from
  //              where it began; a new run where there is none.
  //   none:      a new run.
  //   path:      with a checkpoint of the folder's run that lies in it, that run from there on;
  //              with any other, a new run that begins with it.
  // `on_slice` is called while checkpoints are read.
  Run(const Config& config, const ResumeRequest& request, parallel::Mesh& mesh,
      const OnSlice& on_slice = {});

  const std::string& id() const { return record_.id; }
  // Nothing: from the start.
  const std::optional<VerifiedCheckpoint>& from() const { return from_; }
  // Whether `from` is a checkpoint of this run itself.
  bool goes_on() const { return goes_on_; }

  // Collective. Files of an earlier run are moved away where this is a new one.
  void begin();
  // Collective. A checkpoint of this run is on the disk.
  void saved();

 private:
  void decide(const ResumeRequest& request);
  void go_on();
  void go_on_from(const VerifiedCheckpoint& own);
  void begin_anew(const std::optional<VerifiedCheckpoint>& from);
  bool is_own(const VerifiedCheckpoint& checkpoint) const;
  VerifiedCheckpoint verified(const std::string& named, const std::string& run_folder);
  RunRecord new_run_of_all_ranks();
  void write_record();

  const Config& config_;
  parallel::Mesh& mesh_;
  OnSlice on_slice_;
  std::optional<RunFolder> folder_;  // on rank 0
  std::optional<RunRecord> before_;  // what the folder says
  RunRecord record_;                 // what it will say
  std::optional<VerifiedCheckpoint> from_;
  bool is_new_ = false, goes_on_ = false, goes_back_ = false;
};

}  // namespace elastron::train

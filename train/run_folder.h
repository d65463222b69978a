// A run's folder, output.dir. One process at a time works in it (core/file/folder_lock.h), and what
// lies in it is of one run, which run.json names. A new run never finds another one's files: they
// are moved to previous/<id of that run> first.
//
// The new run.json is the moment from which on the folder is the new run's. It lists what is still
// to be moved, and whoever opens the folder next moves the rest before anything else: a process
// killed at any point leaves either the old run or the new one, never a mixture.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/file/folder_lock.h"

namespace elastron::train {

struct RunRecord {
  std::string id;
  std::string begun;     // UTC
  std::string start;     // the checkpoint it began from, as an absolute path; empty: from nothing
  std::string start_is;  // what that checkpoint was then, should another file come into its place
  std::string job;       // of starts that belong together: --job
  bool saved = false;    // it has had a checkpoint of its own
  bool takes_unmarked = false;  // checkpoints without a run's id are its own: of version 0.1, or
                                // imported into the folder
  bool alone = false;           // nothing but the run's files was there when it began
};

// A new one, unlike any other: a time (UTC) for people, and random digits.
RunRecord new_run();

// The files that are being moved away to make room for the run of the record.
struct Removal {
  std::string to;  // below the run's folder
  std::vector<std::string> names;
};

// run.json. Throws CheckpointError for a text that is none.
std::string run_text(const RunRecord& record, const Removal& removal);
RunRecord parse_run(const std::string& text, const std::string& where, Removal& removal);

class RunFolder {
 public:
  static constexpr const char* kRecord = "run.json";

  // Makes and locks the folder, and ends a removal that was interrupted. Throws UsageError when
  // another process has it, or when a folder is in the place of one of a run's files or the other
  // way round; CheckpointError for a run.json that cannot be read.
  explicit RunFolder(std::string path);

  const std::string& path() const { return path_; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  // The run whose folder it is; nothing in a new folder, or in one of version 0.1.
  const std::optional<RunRecord>& record() const { return record_; }

  // Makes it the folder of another run. -> where the files of the one before are, if it left any.
  // `needed`: what the new run itself reads; it stays where it is. Throws UsageError where that is
  // one of the files that the earlier run wrote, which would have to go and to stay.
  std::optional<std::string> begin(RunRecord run, const std::vector<std::string>& needed);
  // The same run goes on, with what is new about it.
  void update(const RunRecord& run);
  // Checkpoints of later steps, which the run takes again, are not mixed with those to come: they
  // are moved below previous/. -> where, if there were any.
  std::optional<std::string> set_aside_after(int64_t step);

 private:
  Removal to_remove(const std::vector<std::string>& needed) const;
  std::string free_place(const std::string& name) const;
  void remove(const Removal& removal) const;

  std::string path_;
  std::optional<FolderLock> lock_;
  std::optional<RunRecord> record_;
};

}  // namespace elastron::train

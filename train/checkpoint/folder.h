// The names in a folder of checkpoints: step-00000100.h5, latest, best. Serial; rank 0 looks.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace elastron::train {

std::string checkpoint_name(int64_t step);  // "step-00000100.h5"
int64_t step_of(const std::string& name);   // -1 unless it is such a name, without a folder

// Makes the folder, on disk, and removes what an interrupted save left. Throws UsageError.
void prepare_checkpoint_folder(const std::string& folder);

// Names, highest step first. Nothing where the folder cannot be read.
std::vector<std::string> checkpoints_in(const std::string& folder);

// The checkpoint's name in a `latest` or `best` file; empty when there is none.
std::string named_in(const std::string& file);
// What is wrong with such a file, in words: it names no checkpoint, or one that is not there. Empty
// when nothing is, or when there is no such file.
std::string pointer_fault(const std::string& file);
// Has `file` (`latest` or `best`) name the checkpoint of that step. Throws CheckpointError.
void point_at(const std::string& file, int64_t step);

// Names in the order in which resuming tries them: what `latest` names, then what is older than
// that, newest first, then what is newer: that belongs to a run that was abandoned for the one of
// `latest`.
std::vector<std::string> resume_candidates(const std::string& folder);

// The checkpoint that is meant, for every command that asks for one. `named` is one of
//   a file, checkpoints/step-00000100.h5;
//   a run's folder, or its checkpoints/: what `latest` says there;
//   `latest` or `best` in either, RUN/best for short;
//   these two words alone: of the run in `run_folder`, the configuration's output.dir. Where there
//   is none ("") the words are no more than paths.
// Throws CheckpointError.
std::string resolve_checkpoint(const std::string& named, const std::string& run_folder = "");

}  // namespace elastron::train

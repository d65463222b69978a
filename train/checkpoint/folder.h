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

// Names in the order in which resuming tries them: what `latest` names, then what is older than
// that, newest first, then what is newer: that belongs to a run that was abandoned for the one of
// `latest`.
std::vector<std::string> resume_candidates(const std::string& folder);

// "checkpoints/step-00000100.h5", a run's folder or its checkpoints/ with a `latest` file, or that
// file -> the checkpoint. Throws CheckpointError.
std::string resolve_checkpoint(const std::string& path);

}  // namespace elastron::train

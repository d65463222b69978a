// Reading checkpoints of unknown origin. HDF5 is not hardened: it has crashed on hostile files
// before. Such a file is first read in a child process (core/file/child_process.h).
#pragma once
#include <string>

namespace elastron::train {

struct InspectOptions {
  bool json = false;    // for programs (docs/checkpoint-format.md), with everything
  bool config = false;  // the whole configuration, not only what differs from the defaults
};

// The contents of a checkpoint. Every checksum is verified. Throws Error of kind checkpoint.
std::string inspect_checkpoint(const std::string& path, const InspectOptions& options);

// Throws Error of kind checkpoint unless the library survives reading the file's structure (no
// data), which must be that of a checkpoint.
void probe_checkpoint(const std::string& path);

}  // namespace elastron::train

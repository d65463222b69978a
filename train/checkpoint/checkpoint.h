// Checkpoints: what a run is, in one HDF5 file of logical (unsharded) tensors that any rank layout can
// load (docs/checkpoint-format.md). A file is there whole or not at all.
//
// Saving: every rank writes its shards to ".step-00000100.h5.tmp"; the file is closed, read back and
// compared with memory; its checksums and the mark `complete` are added; it is synced to disk and
// renamed; `latest` follows; only then are old ones deleted. A process killed at any point leaves
// the previous checkpoint as it was.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "parallel/mesh.h"
#include "train/optimizer.h"

namespace elastron::train {

inline constexpr int64_t kCheckpointFormatVersion = 1;

using NamedValues = std::map<std::string, std::string>;

// Everything but tensors.
struct CheckpointHeader {
  int64_t step = 0;  // optimiser steps done
  int64_t tokens_seen = 0;
  std::string objective;
  std::string backbone_fingerprint;
  std::string config;   // YAML text
  NamedValues state;    // /objective: counters of the training loop
  NamedValues data;     // /data: the sampler's cursor
  NamedValues random;   // /rng: seeds; numbers are counter-based, so nothing else is needed
};

// The tensors: trainable parameters (their masters) and, where given, their optimiser moments in the
// same order. Loading fills them in place.
struct CheckpointTensors {
  ParameterList parameters;
  std::vector<Moments>* moments = nullptr;  // null: not loaded (evaluation)
};

class CheckpointStore {
 public:
  // `folder` is made if need be; temporary files of an interrupted save are removed. keep >= 2.
  CheckpointStore(std::string folder, int64_t keep, parallel::Mesh& mesh);

  // Collective over the world. -> the file. Throws on all ranks when any fails; then the previous
  // checkpoint and `latest` are as they were.
  std::string save(const CheckpointHeader& header, const CheckpointTensors& tensors);

  // Collective. Newest whole checkpoint of the folder; broken ones are passed over with a warning.
  // Nothing where there is none; throws CheckpointError where there are only broken ones.
  std::optional<std::string> newest_whole() const;

 private:
  void delete_old() const;

  std::string folder_;
  int64_t keep_;
  parallel::Mesh& mesh_;
};

// "checkpoints/step-00000100.h5", a folder with a `latest` file, or that file -> the checkpoint.
std::string resolve_checkpoint(const std::string& path);

// Collective over the mesh: reads the header, checks every checksum (ranks share the work). Throws
// CheckpointError on all ranks, naming the dataset.
CheckpointHeader verify_checkpoint(const std::string& path, parallel::Mesh& mesh);
// Reads each rank's slices. All names and shapes must fit; one error lists those that do not.
void load_tensors(const std::string& path, const CheckpointTensors& tensors, parallel::Mesh& mesh);

// For people: what a file holds and whether it is whole. Throws CheckpointError.
std::string describe_checkpoint(const std::string& path);

}  // namespace elastron::train

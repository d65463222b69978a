// Checkpoints: what a run is, in one HDF5 file of logical (unsharded) tensors that any rank layout
// can load (docs/checkpoint-format.md). A file is there whole or not at all.
//
// Saving: every rank writes its shards to ".step-00000100.h5.tmp"; the file is closed, read back
// and compared with memory; its checksums and the mark `complete` are added; it is read back once
// more, synced to disk and renamed; `latest` follows; only then are old ones deleted. A process
// killed, or a disk that fails, at any point leaves the previous checkpoint and `latest` as they
// were.
//
// A save is collective and returns when the file is there: training waits for it.
//
// Tensors are read and written in slices (core/file/slices.h): every rank says after each of its own
// that it goes on.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/file/slices.h"
#include "core/parameter.h"
#include "parallel/mesh.h"
#include "train/checkpoint/folder.h"
#include "train/checkpoint/header.h"
#include "train/step/optimizer.h"

namespace elastron::train {

// The tensors: trainable parameters (their masters) and, where given, their optimiser moments in
// the same order. Loading fills them in place; what is evaluated only may be of a lower precision
// than the file.
struct CheckpointTensors {
  ParameterList parameters;
  std::vector<Moments>* moments = nullptr;  // null: not loaded (evaluation)
  // Which rank of mesh.grad() keeps master and moments of each parameter; empty: every one does.
  std::vector<int> owners;
};

class CheckpointStore {
 public:
  // Collective. `folder` is made if need be; temporary files of an interrupted save are removed.
  // keep >= 2: so many checkpoints stay, and the one that `best` names.
  CheckpointStore(std::string folder, int64_t keep, parallel::Mesh& mesh, OnSlice on_slice = {});

  // Collective over the world. -> the file. Throws on all ranks when any fails (AgreedFailure):
  // exit code 4 with the errno for the disk, 5 when replicas of a tensor differ between ranks.
  // HDF5 1.10 may crash in its own clean-up at exit after a write has failed: leave by _exit.
  std::string save(const CheckpointHeader& header, const CheckpointTensors& tensors);

  // Collective. `best` names the checkpoint of that step, if there is one: it is not deleted as an
  // old one until another is named.
  void mark_best(int64_t step);

 private:
  void write_tensors(const std::string& temporary, const CheckpointTensors& tensors) const;
  void publish(const std::string& temporary, const std::string& path) const;
  void delete_old(const std::string& newest, const std::string& run) const;

  std::string folder_;
  int64_t keep_;
  parallel::Mesh& mesh_;
  OnSlice on_slice_;
};

// Collective over the mesh: reads the header, checks every checksum (ranks share the work). Throws
// on all ranks, exit code 4, naming the dataset.
CheckpointHeader verify_checkpoint(const std::string& path, parallel::Mesh& mesh,
                                   const OnSlice& on_slice = {});

struct VerifiedCheckpoint {
  std::string path;
  CheckpointHeader header;
};

// Collective. Of the checkpoints in `folder` that are `ours` the one that `latest` names, or the
// newest whole one. What is broken, of another run, or not as `latest` says is told and passed
// over. Nothing where there is none; throws where there are only broken ones.
std::optional<VerifiedCheckpoint> newest_whole(
    const std::string& folder, parallel::Mesh& mesh,
    const std::function<bool(const VerifiedCheckpoint&)>& ours, const OnSlice& on_slice = {});

// Collective. Reads each rank's slices. All names and shapes must fit; one error lists all missing,
// unexpected and misshapen ones.
void load_tensors(const std::string& path, const CheckpointTensors& tensors, parallel::Mesh& mesh,
                  const OnSlice& on_slice = {});

// One rank, of a verified file: all parameters, whole, in float32 or wider.
std::map<std::string, Tensor> read_parameters(const std::string& path, Device& device,
                                              const OnSlice& on_slice = {});

}  // namespace elastron::train

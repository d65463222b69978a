// A checkpoint beside its tensors: root attributes and texts (docs/checkpoint-format.md).
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/file/hdf5.h"

namespace elastron::train {

inline constexpr int64_t kCheckpointFormatVersion = 1;

using NamedValues = std::map<std::string, std::string>;

struct CheckpointHeader {
  int64_t step = 0;  // optimiser steps done
  int64_t tokens_seen = 0;
  std::string objective;
  std::string backbone_fingerprint;
  std::string config;  // YAML text
  std::string run;     // the id of the run that wrote it; empty: version 0.1, or imported
  NamedValues state;   // /objective: counters of the training loop
  NamedValues data;    // /data: the sampler's cursor
  NamedValues random;  // /rng: seeds; numbers are counter-based, so nothing else is needed
};

// Whether the text can be the id of a run: it becomes part of paths.
bool is_run_id(std::string_view text);

// The texts, by dataset.
std::map<std::string, std::string> header_texts(const CheckpointHeader& header);
// Root attributes, except the marks of integrity.h.
void write_attributes(Hdf5File& file, const CheckpointHeader& header);
// Over the root attributes that are in the file.
std::string attributes_checksum(const Hdf5File& file);

// Throws CheckpointError unless the file says that it is a checkpoint of this format version.
void check_format(const Hdf5File& file);
CheckpointHeader read_header(const Hdf5File& file);
// Throws CheckpointError, with `todo` as the advice, unless the checkpoint is of that objective.
void require_objective(const CheckpointHeader& header, std::string_view objective,
                       const std::string& path, const std::string& todo);
// Throws CheckpointError unless it was trained on the backbone with that fingerprint.
void require_backbone(const CheckpointHeader& header, const std::string& fingerprint,
                      const std::string& path);
// CheckpointHeader::run alone.
std::string read_run(const Hdf5File& file);

}  // namespace elastron::train

// A training run as its folder tells of it (docs/configuration.md, Files of a run).
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/inputs/metrics_series.h"

namespace elastron::report {

struct TrainingRun {
  std::string name;                   // for headings and legends
  std::string folder;                 // as it was given
  std::string id, begun, start, job;  // run.json; empty where it is of version 0.1
  MetricsSeries metrics;
  std::string config_text;                                  // config.yaml
  std::vector<std::pair<std::string, std::string>> config;  // its keys, "train.seed", in order
  // What the last start said of itself: program and version, device, threads, MPI, layout.
  std::vector<std::string> announced;
  int ranks = 0;  // of that start; 0: not known
  std::vector<std::string> checkpoints;
  std::string latest, best;
  bool going_on = false;  // a process has the folder

  std::string value(const std::string& key) const;  // of the configuration; empty: not there
};

// Whether the folder is one.
bool is_run_folder(const std::string& folder);

// Throws InputError, CheckpointError for a run.json and UsageError for a config.yaml that cannot be
// read.
TrainingRun read_run(const std::string& folder);

}  // namespace elastron::report

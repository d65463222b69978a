// The rows that a reward model is to score, read as that model reads them, before it is loaded:
// what is wrong with a row or with the settings is said early.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "model/weights/model_config.h"
#include "reward/judging/row_sizes.h"
#include "reward/row_source.h"
#include "train/evaluate/reward_model.h"

namespace elastron::train {

struct ScoreOptions {
  std::string checkpoint;  // empty: the folder has a head
  int64_t limit = 131072;  // tokens of a sequence
  bool untrained = true;   // also by a new head on the backbone as it was
};

class RowsToScore {
 public:
  // Collective over the world. The files must outlive this. Throws on all ranks: CheckpointError,
  // InputError for rows, UsageError where they reach beyond the model's positions.
  RowsToScore(const Config& config, parallel::World& world,
              const std::vector<reward::EvaluationFile>& files, const ScoreOptions& options);
  RowsToScore(const RowsToScore&) = delete;
  RowsToScore& operator=(const RowsToScore&) = delete;

  // The run's, with what the model was trained with. Where it runs is the caller's to settle.
  Config& config() { return config_; }
  const ScoreOptions& options() const { return options_; }
  const std::optional<RewardCheckpoint>& checkpoint() const { return checkpoint_; }
  const reward::PairReader& reader() const { return *reader_; }
  parallel::Communicator& everyone() const { return *everyone_; }

  const std::vector<reward::EvaluationFile>& files() const { return files_; }
  int64_t lines() const;  // of all files
  const std::vector<reward::SizedRow>& all() const { return rows_; }
  // Those that can be scored; pack i of the source is usable()[i].
  const std::vector<const reward::SizedRow*>& usable() const { return usable_; }
  const reward::RowSource& source() const { return *source_; }

 private:
  void open_reader();

  const std::vector<reward::EvaluationFile>& files_;
  ScoreOptions options_;
  std::unique_ptr<parallel::Communicator> everyone_;
  std::optional<RewardCheckpoint> checkpoint_;
  Config config_;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::optional<reward::PairReader> reader_;
  std::optional<model::ModelConfig> model_;
  std::vector<reward::SizedRow> rows_;
  std::vector<const reward::SizedRow*> usable_;
  std::optional<reward::RowSource> source_;
};

}  // namespace elastron::train

// The order of packs in training: shuffled per epoch, with a cursor that resumes exactly on any
// layout. The cursor counts packs of the whole run, never of a rank.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace elastron::data {

class Sampler {
 public:
  // packs: in the source, or PackSource::kUnlimited (then packs come in order, once). Throws
  // UsageError when an epoch holds fewer packs than a step needs.
  Sampler(int64_t packs, std::string fingerprint, uint64_t seed, int64_t packs_per_step);

  // The packs of the next step, in order; advances. The remainder of an epoch that is shorter than
  // a step is dropped, as in the paper's reference.
  std::vector<int64_t> next_step();
  // What next_step() will give. Moves nothing: the cursor stays that of the steps taken.
  std::vector<int64_t> upcoming_step();

  // Named values for a checkpoint, and back. Throws CheckpointError for a cursor of another data
  // set, seed or step size.
  std::map<std::string, std::string> state() const;
  void restore(const std::map<std::string, std::string>& state);

  // Through the data so far, as a fraction; nothing where it has no end.
  std::optional<double> passes() const;

  int64_t epoch() const { return epoch_; }
  int64_t position() const { return position_; }

 private:
  std::vector<int64_t> shuffled(int64_t epoch) const;  // empty when unlimited
  bool epoch_is_over() const { return position_ + packs_per_step_ > packs_; }

  int64_t packs_;
  std::string fingerprint_;
  uint64_t seed_;
  int64_t packs_per_step_;
  int64_t epoch_ = 0, position_ = 0;
  std::vector<int64_t> order_;       // of the current epoch
  std::vector<int64_t> next_order_;  // of the one behind it, where its first step was asked for
};

}  // namespace elastron::data

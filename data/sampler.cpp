#include "data/sampler.h"

#include <charconv>
#include <numeric>

#include "core/error.h"
#include "core/philox.h"
#include "core/plural.h"
#include "data/source.h"

namespace elastron::data {

namespace {

int64_t number(const std::string& text) {
  int64_t value = -1;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < 0) {
    throw CheckpointError("the data cursor is not a number", "/data",
                          "the checkpoint is damaged; choose another");
  }
  return value;
}

}  // namespace

Sampler::Sampler(int64_t packs, std::string fingerprint, uint64_t seed, int64_t packs_per_step)
    : packs_(packs),
      fingerprint_(std::move(fingerprint)),
      seed_(seed),
      packs_per_step_(packs_per_step) {
  ELASTRON_CHECK(packs_per_step > 0, "a step without packs");
  if (packs < packs_per_step) {
    throw UsageError("the data has " + plural(packs, "pack") + ", a step needs " +
                         std::to_string(packs_per_step),
                     "train.global_batch",
                     "lower train.global_batch or data.max_tokens, or give more data");
  }
  shuffle();
}

void Sampler::shuffle() {
  if (packs_ == PackSource::kUnlimited) return;
  ELASTRON_CHECK(packs_ <= int64_t(UINT32_MAX), "packs are drawn by 32-bit numbers");
  order_.resize(size_t(packs_));
  std::iota(order_.begin(), order_.end(), 0);
  RandomStream stream(seed_, RandomPurpose::shuffle, uint32_t(epoch_), uint32_t(epoch_ >> 32));
  for (int64_t i = packs_ - 1; i > 0; --i) {
    std::swap(order_[size_t(i)], order_[stream.next_below(uint32_t(i + 1))]);
  }
}

std::vector<int64_t> Sampler::next_step() {
  if (position_ + packs_per_step_ > packs_) {
    ++epoch_;
    position_ = 0;
    shuffle();
  }
  std::vector<int64_t> step;
  for (int64_t i = 0; i < packs_per_step_; ++i, ++position_) {
    step.push_back(order_.empty() ? position_ : order_[size_t(position_)]);
  }
  return step;
}

std::optional<double> Sampler::passes() const {
  if (packs_ == PackSource::kUnlimited) return {};
  const int64_t used = packs_ - packs_ % packs_per_step_;
  return double(epoch_) + double(position_) / double(used);
}

std::map<std::string, std::string> Sampler::state() const {
  return {{"epoch", std::to_string(epoch_)},
          {"position", std::to_string(position_)},
          {"seed", std::to_string(seed_)},
          {"packs", std::to_string(packs_)},
          {"packs_per_step", std::to_string(packs_per_step_)},
          {"fingerprint", fingerprint_}};
}

void Sampler::restore(const std::map<std::string, std::string>& state) {
  const auto own = this->state();
  for (const auto& [key, value] : own) {
    const auto it = state.find(key);
    if (it == state.end()) {
      throw CheckpointError("the data cursor lacks '" + key + "'", "/data",
                            "the checkpoint is damaged; choose another");
    }
    const bool moves = key == "epoch" || key == "position";
    if (!moves && it->second != value) {
      throw CheckpointError("the data cursor belongs to other data: " + key + " is " + it->second +
                                " there and " + value + " here",
                            "/data",
                            "resume with the data, train.seed and train.global_batch of "
                            "the checkpoint, or start with --resume none");
    }
  }
  const int64_t epoch = number(state.at("epoch")), position = number(state.at("position"));
  if (position > packs_) {
    throw CheckpointError("the data cursor is out of range", "/data",
                          "the checkpoint is damaged; choose another");
  }
  epoch_ = epoch;
  position_ = position;
  shuffle();
}

}  // namespace elastron::data

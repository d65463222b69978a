#include "data/sampler.h"

#include <charconv>
#include <numeric>
#include <utility>

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
  order_ = shuffled(epoch_);
}

std::vector<int64_t> Sampler::shuffled(int64_t epoch) const {
  if (packs_ == PackSource::kUnlimited) return {};
  ELASTRON_CHECK(packs_ <= int64_t(UINT32_MAX), "packs are drawn by 32-bit numbers");
  std::vector<int64_t> order(static_cast<size_t>(packs_));
  std::iota(order.begin(), order.end(), 0);
  RandomStream stream(seed_, RandomPurpose::shuffle, uint32_t(epoch), uint32_t(epoch >> 32));
  for (int64_t i = packs_ - 1; i > 0; --i) {
    std::swap(order[size_t(i)], order[stream.next_below(uint32_t(i + 1))]);
  }
  return order;
}

std::vector<int64_t> Sampler::upcoming_step() {
  if (epoch_is_over() && next_order_.empty()) next_order_ = shuffled(epoch_ + 1);
  const auto& order = epoch_is_over() ? next_order_ : order_;
  const int64_t begin = epoch_is_over() ? 0 : position_;
  std::vector<int64_t> step;
  for (int64_t i = begin; i < begin + packs_per_step_; ++i) {
    step.push_back(order.empty() ? i : order[size_t(i)]);
  }
  return step;
}

std::vector<int64_t> Sampler::next_step() {
  auto step = upcoming_step();
  if (epoch_is_over()) {
    ++epoch_;
    position_ = 0;
    order_ = std::exchange(next_order_, {});
  }
  position_ += packs_per_step_;
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
  order_ = shuffled(epoch_);
  next_order_.clear();
}

}  // namespace elastron::data

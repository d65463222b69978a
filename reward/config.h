// Configuration of reward models: the `reward` section.
#pragma once
#include <cstdint>
#include <string>

#include "core/config/load.h"
#include "data/packed_batch.h"
#include "reward/loss.h"
#include "reward/overlong.h"
#include "reward/rows.h"
#include "reward/traces.h"

namespace elastron::reward {

enum class LossKind : uint8_t { bradley_terry, simpo };

struct SimpoConfig {
  double beta = 2.5;
  double gamma = 0.5;
  bool hinge = false;
  double nll = 0;
};

struct RewardConfig {
  LossKind loss = LossKind::bradley_terry;
  bool margin = false;
  double label_smoothing = 0;
  SimpoConfig simpo;
  config::Auto<Overlong> overlong;
  BadRows bad_rows = BadRows::error;
  bool share_prompts = true;
  std::string router;
  std::string task = "MultiHop QA";
  bool normalize = false;
  bool shuffle_labels = false;
  TraceConfig traces;

  Overlong training_overlong() const { return overlong.value_or(Overlong::drop_pair); }
  Overlong evaluation_overlong() const { return overlong.value_or(Overlong::truncate_middle); }
  SimpoSettings simpo_settings() const {
    return {.beta = simpo.beta,
            .gamma = simpo.gamma,
            .smoothing = label_smoothing,
            .hinge = simpo.hinge};
  }
};

}  // namespace elastron::reward

namespace elastron::config {

template <>
struct EnumNames<reward::LossKind> {
  static constexpr NameOf<reward::LossKind> names[] = {
      {reward::LossKind::bradley_terry, "bradley_terry"}, {reward::LossKind::simpo, "simpo"}};
};
template <>
struct EnumNames<reward::Overlong> {
  using T = reward::Overlong;
  static constexpr NameOf<T> names[] = {{T::error, "error"},
                                        {T::drop_pair, "drop_pair"},
                                        {T::truncate_prompt_middle, "truncate_prompt_middle"},
                                        {T::truncate_middle, "truncate_middle"}};
};
template <>
struct EnumNames<reward::BadRows> {
  static constexpr NameOf<reward::BadRows> names[] = {{reward::BadRows::error, "error"},
                                                      {reward::BadRows::skip, "skip"}};
};
template <>
struct EnumNames<reward::Lexicon> {
  using T = reward::Lexicon;
  static constexpr NameOf<T> names[] = {
      {T::automatic, "auto"}, {T::english, "english"}, {T::coded, "coded"}};
};

// Its keys stand in reward/config.cpp.
extern template Table table_of(reward::RewardConfig&);

}  // namespace elastron::config

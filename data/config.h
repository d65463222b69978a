// Configuration of data: the `data` section.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/config/load.h"
#include "data/chat_template.h"
#include "data/control_tokens.h"
#include "data/document.h"
#include "data/packing.h"

namespace elastron::data {

enum class Format : uint8_t { jsonl, packed, synthetic };
enum class UnknownTask : uint8_t { error, drop };
enum class Overlong : uint8_t { error, drop };
enum class BadRecords : uint8_t { error, skip };

struct SyntheticConfig {
  std::map<std::string, double> kinds;  // weight by kind name; empty: the six tasks, evenly
  std::vector<int64_t> lengths = {512};
  int64_t clearance = 96;
  int64_t seed = 1;
  int64_t eval_per_kind = 32;
};

struct DataConfig {
  Format format = Format::jsonl;
  std::vector<std::string> train;
  std::vector<std::string> eval;
  int64_t max_tokens = 65536;
  int64_t min_tokens = 1;
  Packing packing = Packing::sorted;
  LabelMode label_mode = LabelMode::all;
  ChatTemplateSetting chat_template = ChatTemplateSetting::automatic;
  UnknownTask unknown_task = UnknownTask::error;
  Overlong overlong = Overlong::error;
  BadRecords bad_records = BadRecords::error;
  ControlTokens control_tokens = ControlTokens::automatic;
  Prompts prompts;
  SyntheticConfig synthetic;
};

}  // namespace elastron::data

namespace elastron::config {

template <>
struct EnumNames<data::Format> {
  static constexpr NameOf<data::Format> names[] = {{data::Format::jsonl, "jsonl"},
                                                   {data::Format::packed, "packed"},
                                                   {data::Format::synthetic, "synthetic"}};
};
template <>
struct EnumNames<data::UnknownTask> {
  static constexpr NameOf<data::UnknownTask> names[] = {{data::UnknownTask::error, "error"},
                                                        {data::UnknownTask::drop, "drop"}};
};
template <>
struct EnumNames<data::Overlong> {
  static constexpr NameOf<data::Overlong> names[] = {{data::Overlong::error, "error"},
                                                     {data::Overlong::drop, "drop"}};
};
template <>
struct EnumNames<data::BadRecords> {
  static constexpr NameOf<data::BadRecords> names[] = {{data::BadRecords::error, "error"},
                                                       {data::BadRecords::skip, "skip"}};
};
template <>
struct EnumNames<data::ControlTokens> {
  using T = data::ControlTokens;
  static constexpr NameOf<T> names[] = {
      {T::automatic, "auto"}, {T::keep, "keep"}, {T::text, "text"}, {T::error, "error"}};
};
template <>
struct EnumNames<data::Packing> {
  static constexpr NameOf<data::Packing> names[] = {{data::Packing::sorted, "sorted"},
                                                    {data::Packing::first_fit, "first_fit"},
                                                    {data::Packing::none, "none"}};
};
template <>
struct EnumNames<data::LabelMode> {
  static constexpr NameOf<data::LabelMode> names[] = {{data::LabelMode::all, "all"},
                                                      {data::LabelMode::answer, "answer"}};
};

template <>
struct EnumNames<data::ChatTemplateSetting> {
  using T = data::ChatTemplateSetting;
  static constexpr NameOf<T> names[] = {{T::automatic, "auto"},
                                        {T::qwen3, "qwen3"},
                                        {T::qwen3_instruct, "qwen3-instruct"},
                                        {T::qwen3_thinking, "qwen3-thinking"},
                                        {T::qwen3_training, "qwen3-training"},
                                        {T::qwen3_training_0_26, "qwen3-training-0.26"},
                                        {T::qwen2_5, "qwen2.5"},
                                        {T::llama3, "llama3"},
                                        {T::llama3_0, "llama3.0"},
                                        {T::mistral_v3, "mistral-v3"},
                                        {T::mistral_nemo, "mistral-nemo"},
                                        {T::deepseek_r1, "deepseek-r1"},
                                        {T::deepseek_r1_2501, "deepseek-r1-2501"},
                                        {T::deepseek_r1_training, "deepseek-r1-training"},
                                        {T::none, "none"}};
};

// Its keys stand in data/config.cpp.
extern template Table table_of(data::DataConfig&);

}  // namespace elastron::config

// Configuration of data: the `data` section.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/config/schema.h"
#include "core/limits.h"
#include "data/chat_template.h"
#include "data/document.h"
#include "data/packing.h"

namespace elastron::data {

enum class Format : uint8_t { jsonl, packed, synthetic };
enum class UnknownTask : uint8_t { error, drop };
enum class Overlong : uint8_t { error, drop };
enum class BadRecords : uint8_t { error, skip };
// What becomes of control tokens (<|im_end|> and the like) that stand in the text of a record or of
// a judged trace; automatic: keep in training data, text in judged traces.
enum class ControlTokens : uint8_t { automatic, keep, text, error };

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
  static constexpr NameOf<T> names[] = {
      {T::automatic, "auto"}, {T::qwen3, "qwen3"}, {T::llama3, "llama3"}, {T::none, "none"}};
};

template <>
struct Schema<data::Prompts> {
  using C = data::Prompts;
  static constexpr auto fields = std::tuple{
      field("summarization_before", &C::summarization_before,
            "instruction in front of a Summarization document"),
      field("summarization_after", &C::summarization_after,
            "cue after a Summarization document's text and a blank line, e.g. \"Summary:\""),
      field("code_before", &C::code_before, "instruction in front of a Code document")};
};

template <>
struct Schema<data::SyntheticConfig> {
  using C = data::SyntheticConfig;
  static constexpr auto fields = std::tuple{
      field(
          "kinds", &C::kinds,
          "weight by kind: needle, recall, trace, gist, continuation, pattern, repeat; empty: the "
          "six tasks evenly"),
      field("lengths", &C::lengths, between(1, kMostTokens),
            "document lengths in words, drawn evenly"),
      field("clearance", &C::clearance, between(0, kMostTokens),
            "words between the last far fact and the question"),
      field("seed", &C::seed, at_least(0), "seed of the generator; evaluation uses seed + 1"),
      field("eval_per_kind", &C::eval_per_kind, between(1, kMostPacksPerStep),
            "evaluation documents per kind and length")};
};

template <>
struct Schema<data::DataConfig> {
  using C = data::DataConfig;
  static constexpr auto fields = std::tuple{
      field("format", &C::format,
            "records as JSON lines, files of elastron pack, or documents made on the fly"),
      field("train", &C::train, "training files"),
      field("eval", &C::eval, "evaluation files"),
      field("max_tokens", &C::max_tokens, between(2, kMostTokens),
            "tokens per pack, and of the longest document"),
      field("min_tokens", &C::min_tokens, between(1, kMostTokens), "shorter documents are dropped"),
      field("packing", &C::packing, "which documents share a pack"),
      field("label_mode", &C::label_mode, "predict every token, or the answer only"),
      field(
          "chat_template", &C::chat_template,
          "form of the conversation that a record becomes; auto: the model folder's, or none where "
          "it has none (synthetic data never has one)"),
      field("unknown_task", &C::unknown_task, "what to do with a record of an unknown task"),
      field("overlong", &C::overlong, "what to do with a document longer than max_tokens"),
      field("bad_records", &C::bad_records,
            "what to do with a line that is no record: end, or skip it and say how many"),
      field("control_tokens", &C::control_tokens,
            "control tokens spelled out in a record's text: keep them as such, take them for plain "
            "text, or end; auto: keep in training data, text in judged traces"),
      section("prompts", &C::prompts, "instructions added to the text; empty: none"),
      section("synthetic", &C::synthetic, "documents made on the fly (format: synthetic)")};
  static void check(const C& c, Problems& problems) {
    if (c.min_tokens > c.max_tokens) {
      problems.add("min_tokens", "no document is that long and fits in data.max_tokens",
                   "lower data.min_tokens or raise data.max_tokens");
    }
  }
};

}  // namespace elastron::config

#include "data/config.h"

#include "core/config/schema.h"
#include "core/limits.h"

namespace elastron::config {

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
      field("kinds", &C::kinds,
            "weight by kind: needle, recall, trace, gist, continuation, pattern, hops, count, "
            "repeat; "
            "empty: the first six evenly"),
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
      field("train", &C::train,
            "training files, folders of them, or patterns such as data/*.jsonl"),
      field("eval", &C::eval, "evaluation files, likewise"),
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

template Table table_of(data::DataConfig&);

}  // namespace elastron::config

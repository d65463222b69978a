#include "benchmark/running/figures.h"

#include "core/json_fields.h"

namespace elastron::benchmark {

using Json = nlohmann::ordered_json;

namespace {

Json ratio(double a, double b) { return b > 0 ? Json(a / b) : Json(nullptr); }

}  // namespace

void RowFigures::add(const RowFigures& question, int64_t questions_before) {
  const auto n = double(questions_before);
  msr = (n * msr + question.msr) / (n + 1);
  esr = (n * esr + question.esr) / (n + 1);
  prompt_tokens += question.prompt_tokens;
  new_tokens += question.new_tokens;
  truncated = truncated || question.truncated;
  cache_bytes += question.cache_bytes;
  full_cache_bytes += question.full_cache_bytes;
  prompt_seconds += question.prompt_seconds;
  decoded_tokens += question.decoded_tokens;
  decoding_seconds += question.decoding_seconds;
}

Json row_figures_json(const RowFigures& f) {
  return {{"prompt_tokens", f.prompt_tokens},
          {"new_tokens", f.new_tokens},
          {"truncated", f.truncated},
          {"msr", f.msr},
          {"esr", f.esr},
          {"cache_bytes", f.cache_bytes},
          {"full_cache_bytes", f.full_cache_bytes},
          {"prompt_seconds", f.prompt_seconds},
          {"decoded_tokens", f.decoded_tokens},
          {"decoding_seconds", f.decoding_seconds}};
}

RowFigures row_figures(const PredictionFile::Row& row) {
  const JsonFields fields(row.value, row.where, "remove the folder and predict again");
  return {.prompt_tokens = fields.integer("prompt_tokens"),
          .new_tokens = fields.integer("new_tokens"),
          .truncated = fields.flag("truncated"),
          .msr = fields.number("msr"),
          .esr = fields.number("esr"),
          .cache_bytes = fields.number("cache_bytes"),
          .full_cache_bytes = fields.number("full_cache_bytes"),
          .prompt_seconds = fields.number("prompt_seconds"),
          .decoded_tokens = fields.integer("decoded_tokens"),
          .decoding_seconds = fields.number("decoding_seconds")};
}

void TaskFigures::add(const RowFigures& row) {
  ++rows;
  truncated += row.truncated;
  prompt_tokens += row.prompt_tokens;
  new_tokens += row.new_tokens;
  msr += row.msr;
  esr += row.esr;
  cache_bytes += row.cache_bytes;
  full_cache_bytes += row.full_cache_bytes;
  prompt_seconds += row.prompt_seconds;
  decoded_tokens += row.decoded_tokens;
  decoding_seconds += row.decoding_seconds;
}

Json figures_json(const TaskFigures& f) {
  const auto rows = double(f.rows);
  return {{"truncated", f.truncated},
          {"msr", ratio(f.msr, rows)},
          {"esr", ratio(f.esr, rows)},
          {"cache_kept", ratio(f.cache_bytes, f.full_cache_bytes)},
          {"prompt_tokens", ratio(double(f.prompt_tokens), rows)},
          {"new_tokens", ratio(double(f.new_tokens), rows)},
          {"prompt_tokens_per_second", ratio(double(f.prompt_tokens), f.prompt_seconds)},
          {"decoded_tokens_per_second", ratio(double(f.decoded_tokens), f.decoding_seconds)}};
}

}  // namespace elastron::benchmark

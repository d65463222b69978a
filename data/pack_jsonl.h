// JSONL files in, one packed file out (elastron pack), in bounded memory.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/document_reader.h"

namespace elastron::data {

struct PackProgress {
  enum class Phase : uint8_t { tokenising, writing, verifying };
  Phase phase = Phase::tokenising;
  uint64_t done = 0, total = 0;  // bytes of text; then tokens; then packs
  int64_t documents = 0, tokens = 0;
};

struct PackSummary {
  struct Task {
    int64_t documents = 0, tokens = 0;
  };
  RecordCounts counts;
  ControlTokens control_tokens = ControlTokens::keep;  // what became of those in the text
  int64_t documents = 0, tokens = 0, packs = 0;
  std::array<Task, kTaskCount> tasks;
};

// `names`: files, folders and patterns (data/file_list.h). Token ids wait in a scratch file beside
// `out`; in memory are about 100 bytes per document and, whatever the number of threads, a bounded
// amount of text. The bytes of `out` depend on the files' content, the model folder and `config`
// only. `out` is replaced when all is done, or stays as it was: nothing is left of a run that
// fails. `on_progress` may throw to end it. Throws InputError for bad files, a full disk, and when
// no document is left; UsageError when `out` is one of the files.
PackSummary pack_jsonl(const std::vector<std::string>& names, const std::string& out,
                       const DataConfig& config, const Tokenizer& tokenizer, int32_t eos,
                       const std::string& model_folder, int threads,
                       const std::function<void(const PackProgress&)>& on_progress = {});

}  // namespace elastron::data

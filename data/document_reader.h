// The documents of JSONL files, in the files' order, tokenised by worker threads.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/document.h"
#include "data/tokenizer.h"

namespace elastron::data {

// Counts what became of the records.
struct RecordCounts {
  int64_t records = 0, unknown_task = 0, too_short = 0, overlong = 0, bad = 0;
  // The bad ones are counted by what is wrong with them.
  struct Bad {
    int64_t records = 0;
    std::string first;  // where
  };
  std::map<std::string, Bad> bad_by_reason;
  ControlCount controls;

  int64_t dropped() const { return unknown_task + too_short + overlong + bad; }
  std::string dropped_text() const;  // "dropped: 1 unknown task, 2 short, 3 overlong"
  // "skipped 2 bad records: field 'context' is missing (2, first a.jsonl:7)"; empty: none was.
  std::string bad_text() const;
};

struct ReadProgress {
  uint64_t bytes = 0, bytes_total = 0;  // of all files
  RecordCounts counts;
};

class DocumentReader {
 public:
  // `model_folder`: for data.chat_template: auto. Throws InputError when the tokenizer does not fit
  // the chat template.
  DocumentReader(const DataConfig& config, const Tokenizer& tokenizer, int32_t eos,
                 const std::string& model_folder);

  ChatTemplateSetting chat_template() const { return chat_.kind(); }
  // Control tokens in the text become this: never automatic.
  ControlTokens control_tokens() const { return controls_; }

  // Calls `on_document` for each document that is kept, in order, from this thread; kind_id is its
  // place in kinds(), sample_id the number of its record over all files. `on_progress` is called
  // now and then. What is held at a time is bounded (64 MiB of text, or one record), whatever the
  // number of threads. Throws InputError for the first bad record, unknown task, overlong document
  // or control token in the files' order (as the configuration says).
  RecordCounts read(const std::vector<std::string>& files, int threads,
                    const std::function<void(Document&&)>& on_document,
                    const std::function<void(const ReadProgress&)>& on_progress = {});

  // Names behind Document::kind_id, in the order of their first document.
  const std::vector<std::string>& kinds() const { return kinds_; }

 private:
  struct Batch;
  struct Outcome;
  std::vector<Outcome> make_documents(const Batch& batch) const;
  void take(std::vector<Outcome>&& outcomes, RecordCounts& counts,
            const std::function<void(Document&&)>& on_document);
  int32_t kind_id(const std::string& kind);

  const DataConfig& config_;
  const Tokenizer& tokenizer_;
  int32_t eos_;
  ControlTokens controls_;
  ChatTemplate chat_;
  std::vector<std::string> kinds_;
};

}  // namespace elastron::data

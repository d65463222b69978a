#include "data/jsonl_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "core/config/problems.h"
#include "core/error.h"
#include "core/file/checksum.h"
#include "data/jsonl.h"

namespace elastron::data {

namespace {

class JsonlSource final : public PackSource {
 public:
  JsonlSource(const std::vector<std::string>& files, const std::string& key,
              const DataConfig& config, Packing packing, const Tokenizer& tokenizer,
              const ChatTemplate& chat, int32_t eos)
      : labels_(config.label_mode), max_tokens_(config.max_tokens) {
    for (const std::string& file : files) {
      read_jsonl(file, [&](const Record& record, const std::string& where) {
        add(record, where, config, tokenizer, chat, eos);
      });
    }
    if (entries_.empty()) {
      throw InputError(
          "no document is left of " + std::to_string(records_) + " records (" + dropped() + ")",
          fmt::format("{}: {}", key, fmt::join(files, ", ")),
          "check the files, data.min_tokens and data.max_tokens");
    }
    tokens_.shrink_to_fit();
    std::vector<int64_t> lengths;
    for (const Entry& e : entries_) lengths.push_back(e.length);
    packs_ = pack_documents(lengths, config.max_tokens, packing);
    fingerprint_ = content_checksum();
  }

  int64_t packs() const override { return int64_t(packs_.size()); }
  std::vector<Document> pack(int64_t index) const override {
    ELASTRON_CHECK(index >= 0 && index < packs(), "pack index out of range");
    std::vector<Document> documents;
    for (const int64_t i : packs_[size_t(index)]) {
      const Entry& e = entries_[size_t(i)];
      const auto ids = ids_of(e);
      documents.push_back({.ids = {ids.begin(), ids.end()},
                           .user_length = e.user_length,
                           .answer_length = e.answer_length,
                           .task_id = e.task_id,
                           .kind_id = e.kind_id,
                           .sample_id = e.sample_id,
                           .labels = labels_});
    }
    return documents;
  }
  std::string fingerprint() const override { return fingerprint_; }
  std::string summary() const override {
    return fmt::format("{} documents, {} tokens in {} packs ({:.1f} % full), {}", entries_.size(),
                       tokens_.size(), packs_.size(),
                       100.0 * double(tokens_.size()) / double(max_tokens_) / double(packs()),
                       dropped());
  }

 private:
  struct Entry {
    int64_t begin, length, user_length, answer_length, sample_id;
    int32_t task_id, kind_id;
  };

  std::span<const int32_t> ids_of(const Entry& e) const {
    return std::span(tokens_).subspan(size_t(e.begin), size_t(e.length));
  }

  void add(const Record& record, const std::string& where, const DataConfig& config,
           const Tokenizer& tokenizer, const ChatTemplate& chat, int32_t eos) {
    const int64_t sample = records_++;
    if (task_id(record.task) < 0) {
      if (config.unknown_task == UnknownTask::drop) {
        ++unknown_;
        return;
      }
      throw InputError("unknown task " + config::in_quotes(record.task), where + ", metadata.task",
                       fmt::format("use one of {}, or set data.unknown_task: drop",
                                   fmt::join(kTaskNames, ", ")));
    }
    const Document d =
        make_document(record, tokenizer, eos, config.label_mode, config.prompts, chat);
    if (d.length() > config.max_tokens) {
      if (config.overlong == Overlong::drop) {
        ++overlong_;
        return;
      }
      throw InputError(fmt::format("the document has {} tokens, more than data.max_tokens = {}",
                                   d.length(), config.max_tokens),
                       where, "raise data.max_tokens, or set data.overlong: drop");
    }
    if (d.length() < config.min_tokens) {
      ++short_;
      return;
    }
    entries_.push_back({.begin = int64_t(tokens_.size()),
                        .length = d.length(),
                        .user_length = d.user_length,
                        .answer_length = d.answer_length,
                        .sample_id = sample,
                        .task_id = d.task_id,
                        .kind_id = kind_id(record.kind.empty() ? record.task : record.kind)});
    tokens_.insert(tokens_.end(), d.ids.begin(), d.ids.end());
  }

  int32_t kind_id(const std::string& kind) {
    const auto it = std::ranges::find(kinds_, kind);
    if (it != kinds_.end()) return int32_t(it - kinds_.begin());
    kinds_.push_back(kind);
    return int32_t(kinds_.size() - 1);
  }

  std::string content_checksum() const {
    Checksum sum;
    for (const auto& pack : packs_) {
      sum.add(int64_t(pack.size()));
      for (const int64_t i : pack) {
        const Entry& e = entries_[size_t(i)];
        for (const int64_t v : {int64_t(e.task_id), e.length, e.user_length}) sum.add(v);
        sum.add(std::as_bytes(ids_of(e)));
      }
    }
    return sum.digest();
  }

  std::string dropped() const {
    return fmt::format("dropped: {} unknown task, {} short, {} overlong", unknown_, short_,
                       overlong_);
  }

  LabelMode labels_;
  int64_t max_tokens_;
  std::vector<int32_t> tokens_;  // of all documents, end to end
  std::vector<Entry> entries_;
  std::vector<std::vector<int64_t>> packs_;
  std::string fingerprint_;
  int64_t records_ = 0, unknown_ = 0, short_ = 0, overlong_ = 0;
};

}  // namespace

std::unique_ptr<PackSource> open_jsonl_source(const std::vector<std::string>& files,
                                              const std::string& key, const DataConfig& config,
                                              Packing packing, const Tokenizer& tokenizer,
                                              const ChatTemplate& chat, int32_t eos) {
  return std::make_unique<JsonlSource>(files, key, config, packing, tokenizer, chat, eos);
}

}  // namespace elastron::data

#include "data/jsonl_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "core/error.h"
#include "core/file/checksum.h"
#include "core/log.h"
#include "core/plural.h"

namespace elastron::data {

namespace {

class JsonlSource final : public PackSource {
 public:
  JsonlSource(const std::vector<std::string>& files, const std::string& key,
              const DataConfig& config, Packing packing, const Tokenizer& tokenizer, int32_t eos,
              const std::string& model_folder)
      : labels_(config.label_mode), max_tokens_(config.max_tokens) {
    DocumentReader reader(config, tokenizer, eos, model_folder);
    counts_ = reader.read(files, 1, [this](Document&& d) { add(d); });
    kinds_ = reader.kinds();
    for (const std::string& remark :
         {counts_.bad_text(), counts_.controls.text(reader.control_tokens(), "record")}) {
      if (!remark.empty()) log_warning("{}: {}", key, remark);
    }
    if (entries_.empty()) no_document_left(counts_, files, key);
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
                           .answer_offset = e.answer_offset,
                           .answer_length = e.answer_length,
                           .task_id = e.task_id,
                           .kind_id = e.kind_id,
                           .sample_id = e.sample_id,
                           .labels = labels_});
    }
    return documents;
  }
  std::string fingerprint() const override { return fingerprint_; }
  int64_t longest() const override {
    return std::ranges::max_element(entries_, {}, &Entry::length)->length;
  }
  std::string summary() const override {
    return fmt::format(
        "{}, {} in {} ({:.1f} % full), {}", plural(int64_t(entries_.size()), "document"),
        plural(int64_t(tokens_.size()), "token"), plural(int64_t(packs_.size()), "pack"),
        100.0 * double(tokens_.size()) / double(max_tokens_) / double(packs()),
        counts_.dropped_text());
  }

 private:
  struct Entry {
    int64_t begin, length, user_length, answer_offset, answer_length, sample_id;
    int32_t task_id, kind_id;
  };

  std::span<const int32_t> ids_of(const Entry& e) const {
    return std::span(tokens_).subspan(size_t(e.begin), size_t(e.length));
  }

  void add(const Document& d) {
    entries_.push_back({.begin = int64_t(tokens_.size()),
                        .length = d.length(),
                        .user_length = d.user_length,
                        .answer_offset = d.answer_offset,
                        .answer_length = d.answer_length,
                        .sample_id = d.sample_id,
                        .task_id = d.task_id,
                        .kind_id = d.kind_id});
    tokens_.insert(tokens_.end(), d.ids.begin(), d.ids.end());
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

  LabelMode labels_;
  int64_t max_tokens_;
  std::vector<int32_t> tokens_;  // of all documents, end to end
  std::vector<Entry> entries_;
  std::vector<std::vector<int64_t>> packs_;
  std::string fingerprint_;
  RecordCounts counts_;
};

}  // namespace

std::unique_ptr<PackSource> open_jsonl_source(const std::vector<std::string>& files,
                                              const std::string& key, const DataConfig& config,
                                              Packing packing, const Tokenizer& tokenizer,
                                              int32_t eos, const std::string& model_folder) {
  return std::make_unique<JsonlSource>(files, key, config, packing, tokenizer, eos, model_folder);
}

void no_document_left(const RecordCounts& counts, const std::vector<std::string>& files,
                      const std::string& key) {
  throw InputError(fmt::format("no document is left of {} ({})", plural(counts.records, "record"),
                               counts.dropped_text()),
                   fmt::format("{}: {}", key, fmt::join(files, ", ")),
                   "check the files, data.min_tokens and data.max_tokens");
}

}  // namespace elastron::data

#include "data/source.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/philox.h"
#include "data/jsonl.h"
#include "data/synthetic/tasks.h"

namespace elastron::data {

namespace {

// FNV-1a, 64 bits: names a data set, protects nothing.
class Fingerprint {
 public:
  void add(const void* data, size_t bytes) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < bytes; ++i) hash_ = (hash_ ^ p[i]) * 1099511628211ull;
  }
  void add(int64_t value) { add(&value, sizeof value); }
  std::string text() const { return fmt::format("{:016x}", hash_); }

 private:
  uint64_t hash_ = 14695981039346656037ull;
};

class JsonlSource final : public PackSource {
 public:
  JsonlSource(const std::vector<std::string>& files, const DataConfig& config, Packing packing,
              const Tokenizer& tokenizer, int32_t eos) {
    for (const std::string& file : files) {
      read_jsonl(file, [&](const Record& record, const std::string& where) {
        add(record, where, config, tokenizer, eos);
      });
    }
    if (documents_.empty()) {
      throw InputError("no document is left", files.empty() ? "data" : files.front(),
                       "check data.min_tokens, data.max_tokens and the files");
    }
    std::vector<int64_t> lengths;
    for (const Document& d : documents_) lengths.push_back(d.length());
    packs_ = pack_documents(lengths, config.max_tokens, packing);
    Fingerprint print;
    for (const auto& pack : packs_) {
      print.add(int64_t(pack.size()));
      for (const int64_t i : pack) {
        const Document& d = documents_[size_t(i)];
        print.add(d.task_id);
        print.add(d.user_length);
        print.add(d.ids.data(), d.ids.size() * sizeof(int32_t));
      }
    }
    fingerprint_ = print.text();
    max_tokens_ = config.max_tokens;
  }

  int64_t packs() const override { return int64_t(packs_.size()); }
  std::vector<Document> pack(int64_t index) const override {
    std::vector<Document> documents;
    for (const int64_t i : packs_[size_t(index)]) documents.push_back(documents_[size_t(i)]);
    return documents;
  }
  std::string fingerprint() const override { return fingerprint_; }
  std::string summary() const override {
    int64_t tokens = 0;
    for (const Document& d : documents_) tokens += d.length();
    return fmt::format(
        "{} documents, {} tokens in {} packs ({:.1f} % full), dropped: {} unknown task, {} short, "
        "{} overlong",
        documents_.size(), tokens, packs_.size(),
        100.0 * double(tokens) / (double(max_tokens_) * double(packs_.size())), unknown_, short_,
        overlong_);
  }

 private:
  void add(const Record& record, const std::string& where, const DataConfig& config,
           const Tokenizer& tokenizer, int32_t eos) {
    if (task_id(record.task) < 0) {
      if (config.unknown_task == UnknownTask::drop) {
        ++unknown_;
        return;
      }
      std::string known;
      for (const auto& name : kTaskNames) known += (known.empty() ? "" : ", ") + name;
      throw InputError("unknown task '" + record.task + "'", where,
                       "use one of " + known + ", or set data.unknown_task: drop");
    }
    Document document = make_document(record, tokenizer, eos, config.label_mode);
    document.sample_id = next_sample_++;
    const std::string kind = record.kind.empty() ? record.task : record.kind;
    const auto it = std::ranges::find(kinds_, kind);
    document.kind_id = int32_t(it - kinds_.begin());
    if (it == kinds_.end()) kinds_.push_back(kind);
    if (document.length() > config.max_tokens) {
      if (config.overlong == Overlong::drop) {
        ++overlong_;
        return;
      }
      throw InputError(fmt::format("the document has {} tokens, more than data.max_tokens = {}",
                                   document.length(), config.max_tokens),
                       where, "raise data.max_tokens, or set data.overlong: drop");
    }
    if (document.length() < config.min_tokens) {
      ++short_;
      return;
    }
    documents_.push_back(std::move(document));
  }

  std::vector<Document> documents_;
  std::vector<std::vector<int64_t>> packs_;
  std::string fingerprint_;
  int64_t next_sample_ = 0, unknown_ = 0, short_ = 0, overlong_ = 0, max_tokens_ = 1;
};

// What both synthetic sources share: kinds, and one document by (seed, kind, index, length).
class SyntheticBase : public PackSource {
 public:
  SyntheticBase(const DataConfig& config, const Tokenizer& tokenizer, int32_t eos)
      : config_(config), tokenizer_(tokenizer), eos_(eos), mix_(synthetic_mix(config.synthetic)) {
    for (int k = 0; k < kSyntheticKinds; ++k) {
      kinds_.emplace_back(synthetic_kind_name(SyntheticKind(k)));
    }
    if (config.synthetic.lengths.empty()) {
      throw UsageError("no lengths", "data.synthetic.lengths", "give at least one");
    }
    for (const int64_t length : config.synthetic.lengths) {
      // One more for end-of-sequence.
      if (length < kShortestSynthetic || length + 1 > config.max_tokens) {
        throw UsageError(fmt::format("length {} does not fit", length), "data.synthetic.lengths",
                         fmt::format("use {} to data.max_tokens - 1 = {}", kShortestSynthetic,
                                     config.max_tokens - 1));
      }
    }
    for (const std::string& word : synthetic_vocabulary()) {
      if (!tokenizer.id(word)) {
        throw InputError("the tokenizer lacks the word '" + word + "'", "data.format: synthetic",
                         "use a model folder made for the synthetic tasks");
      }
    }
  }

 protected:
  Document document(uint64_t seed, int kind, uint64_t index, int64_t length) const {
    const Record record =
        synthetic_record(seed, SyntheticKind(kind), index,
                         {.length = length, .clearance = config_.synthetic.clearance});
    Document d = make_document(record, tokenizer_, eos_, config_.label_mode);
    d.kind_id = kind;
    d.sample_id = int64_t(index);
    return d;
  }

  DataConfig config_;
  const Tokenizer& tokenizer_;
  int32_t eos_;
  std::vector<std::pair<int, double>> mix_;
};

class SyntheticSource final : public SyntheticBase {
 public:
  using SyntheticBase::SyntheticBase;
  int64_t packs() const override { return kUnlimited; }
  std::vector<Document> pack(int64_t index) const override {
    const SyntheticConfig& s = config_.synthetic;
    RandomStream stream(uint64_t(s.seed), RandomPurpose::synthetic_data, uint32_t(index),
                        uint32_t(index >> 32) << 8 | 0xffu, 0xffffffffu);
    double total = 0;
    for (const auto& [kind, weight] : mix_) total += weight;
    std::vector<Document> documents;
    int64_t tokens = 0;
    while (documents.size() < kMostDocuments) {
      double dice = double(stream.next_uniform()) * total;
      size_t k = 0;
      while (k + 1 < mix_.size() && dice >= mix_[k].second) dice -= mix_[k++].second;
      const int64_t length = s.lengths[stream.next_below(uint32_t(s.lengths.size()))];
      if (tokens + length + 1 > config_.max_tokens) break;
      documents.push_back(document(uint64_t(s.seed), mix_[k].first,
                                   uint64_t(index) * kMostDocuments + documents.size(), length));
      tokens += documents.back().length();
    }
    return documents;
  }
  std::string fingerprint() const override {
    Fingerprint print;
    for (const auto& [kind, weight] : mix_) {
      print.add(kind);
      print.add(&weight, sizeof weight);
    }
    for (const int64_t v : config_.synthetic.lengths) print.add(v);
    for (const int64_t v : {config_.synthetic.clearance, config_.synthetic.seed,
                            config_.max_tokens, int64_t(config_.label_mode)}) {
      print.add(v);
    }
    return print.text();
  }
  std::string summary() const override { return "documents made on the fly, unlimited"; }

 private:
  static constexpr uint64_t kMostDocuments = 4096;
};

class SyntheticEvaluation final : public SyntheticBase {
 public:
  using SyntheticBase::SyntheticBase;
  int64_t packs() const override {
    return int64_t(mix_.size() * config_.synthetic.lengths.size()) *
           config_.synthetic.eval_per_kind;
  }
  std::vector<Document> pack(int64_t index) const override {
    const SyntheticConfig& s = config_.synthetic;
    const int64_t kinds = int64_t(mix_.size()), lengths = int64_t(s.lengths.size());
    const int64_t kind = index % kinds, length = index / kinds % lengths;
    std::vector<Document> one;
    one.push_back(document(uint64_t(s.seed) + 1, mix_[size_t(kind)].first,
                           uint64_t(index / kinds / lengths), s.lengths[size_t(length)]));
    one.back().sample_id = index;
    return one;
  }
  std::string fingerprint() const override { return "synthetic evaluation"; }
  std::string summary() const override { return fmt::format("{} documents made on the fly", packs()); }
};

}  // namespace

std::vector<std::pair<int, double>> synthetic_mix(const SyntheticConfig& config) {
  std::vector<std::pair<int, double>> mix;
  if (config.kinds.empty()) {
    for (int k = 0; k < kSyntheticKinds; ++k) {
      if (SyntheticKind(k) != SyntheticKind::repeat) mix.emplace_back(k, 1.0);
    }
  }
  for (const auto& [name, weight] : config.kinds) {
    const SyntheticKind kind = synthetic_kind_from_name(name);
    if (!(weight > 0)) {
      throw UsageError("the weight of '" + name + "' is not positive", "data.synthetic.kinds",
                       "leave the kind out, or give it a weight above 0");
    }
    mix.emplace_back(int(kind), weight);
  }
  std::ranges::sort(mix);
  return mix;
}

std::unique_ptr<PackSource> open_training_source(const DataConfig& config,
                                                 const Tokenizer& tokenizer, int32_t eos) {
  if (config.format == Format::synthetic) {
    return std::make_unique<SyntheticSource>(config, tokenizer, eos);
  }
  if (config.train.empty()) {
    throw UsageError("no training data", "data.train", "name JSONL files, or set data.format: "
                     "synthetic");
  }
  return std::make_unique<JsonlSource>(config.train, config, config.packing, tokenizer, eos);
}

std::unique_ptr<PackSource> open_evaluation_source(const DataConfig& config,
                                                   const Tokenizer& tokenizer, int32_t eos) {
  if (config.format == Format::synthetic) {
    return std::make_unique<SyntheticEvaluation>(config, tokenizer, eos);
  }
  if (config.eval.empty()) {
    throw UsageError("no evaluation data", "data.eval", "name JSONL files, or set data.format: "
                     "synthetic");
  }
  return std::make_unique<JsonlSource>(config.eval, config, Packing::none, tokenizer, eos);
}

}  // namespace elastron::data

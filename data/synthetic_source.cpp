#include "data/synthetic_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "core/error.h"
#include "core/file/checksum.h"
#include "core/philox.h"
#include "core/plural.h"
#include "data/synthetic/tasks.h"

namespace elastron::data {

namespace {

// Training and evaluation share this: kinds, and one document by (seed, kind, index, length).
class SyntheticSource : public PackSource {
 public:
  SyntheticSource(const DataConfig& config, const Tokenizer& tokenizer, int32_t eos)
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
    for (const auto& [kind, weight] : mix_) check_words(SyntheticKind(kind));
  }

  // The settings, and the first pack: the generator and the tokenizer may change too.
  std::string fingerprint() const override {
    Checksum sum;
    for (const auto& [kind, weight] : mix_) {
      sum.add(int64_t(kind));
      sum.add(std::as_bytes(std::span(&weight, 1)));
    }
    for (const int64_t v : config_.synthetic.lengths) sum.add(v);
    for (const int64_t v : {config_.synthetic.clearance, config_.synthetic.seed, config_.max_tokens,
                            int64_t(config_.packing == Packing::none)}) {
      sum.add(v);
    }
    for (const Document& d : pack(0)) sum.add(std::as_bytes(std::span(d.ids)));
    return sum.digest();
  }

  int64_t longest() const override {
    return std::ranges::max(config_.synthetic.lengths) + 1;  // and what ends it
  }

 private:
  void check_words(SyntheticKind kind) const {
    for (const std::string& word : synthetic_vocabulary(kind)) {
      if (tokenizer_.id(word)) continue;
      throw InputError(fmt::format("the tokenizer lacks the word '{}' of {} documents", word,
                                   synthetic_kind_name(kind)),
                       "data.format: synthetic", "use a model folder made for the synthetic tasks");
    }
  }

 protected:
  Document document(uint64_t seed, int kind, uint64_t index, int64_t length) const {
    const Record record =
        synthetic_record(seed, SyntheticKind(kind), index,
                         {.length = length, .clearance = config_.synthetic.clearance});
    Document d = make_document(record, tokenizer_, eos_, config_.label_mode, config_.prompts);
    d.kind_id = kind;
    d.sample_id = int64_t(index);
    return d;
  }

  DataConfig config_;
  const Tokenizer& tokenizer_;
  int32_t eos_;
  std::vector<std::pair<int, double>> mix_;
};

class SyntheticTraining final : public SyntheticSource {
 public:
  using SyntheticSource::SyntheticSource;
  int64_t packs() const override { return kUnlimited; }
  std::vector<Document> pack(int64_t index) const override {
    const SyntheticConfig& s = config_.synthetic;
    RandomStream stream(uint64_t(s.seed), RandomPurpose::synthetic_data, uint32_t(index),
                        uint32_t(index >> 32) << 8 | 0xffu, 0xffffffffu);
    double total = 0;
    for (const auto& [kind, weight] : mix_) total += weight;
    const uint64_t most = config_.packing == Packing::none ? 1 : kMostDocuments;
    std::vector<Document> documents;
    int64_t tokens = 0;
    while (documents.size() < most) {
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
  std::string summary() const override { return "documents made on the fly, unlimited"; }

 private:
  static constexpr uint64_t kMostDocuments = 4096;
};

class SyntheticEvaluation final : public SyntheticSource {
 public:
  using SyntheticSource::SyntheticSource;
  int64_t packs() const override {
    return int64_t(mix_.size() * config_.synthetic.lengths.size()) *
           config_.synthetic.eval_per_kind;
  }
  std::vector<Document> pack(int64_t index) const override {
    ELASTRON_CHECK(index >= 0 && index < packs(), "pack index out of range");
    const SyntheticConfig& s = config_.synthetic;
    const int64_t kinds = int64_t(mix_.size()), lengths = int64_t(s.lengths.size());
    const int64_t kind = index % kinds, length = index / kinds % lengths;
    std::vector<Document> one;
    one.push_back(document(uint64_t(s.seed) + 1, mix_[size_t(kind)].first,
                           uint64_t(index / kinds / lengths), s.lengths[size_t(length)]));
    one.back().sample_id = index;
    return one;
  }
  std::string summary() const override { return plural(packs(), "document") + " made on the fly"; }
};

}  // namespace

std::vector<std::pair<int, double>> synthetic_mix(const SyntheticConfig& config) {
  std::vector<std::pair<int, double>> mix;
  if (config.kinds.empty()) {
    for (int k = 0; k < kSyntheticKinds; ++k) {
      if (SyntheticKind(k) < SyntheticKind::repeat) mix.emplace_back(k, 1.0);
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

std::unique_ptr<PackSource> open_synthetic_training(const DataConfig& config,
                                                    const Tokenizer& tokenizer, int32_t eos) {
  return std::make_unique<SyntheticTraining>(config, tokenizer, eos);
}

std::unique_ptr<PackSource> open_synthetic_evaluation(const DataConfig& config,
                                                      const Tokenizer& tokenizer, int32_t eos) {
  return std::make_unique<SyntheticEvaluation>(config, tokenizer, eos);
}

}  // namespace elastron::data

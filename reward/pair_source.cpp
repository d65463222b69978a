#include "reward/pair_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/file/checksum.h"
#include "core/log.h"
#include "core/philox.h"
#include "core/plural.h"
#include "data/document.h"
#include "data/file_list.h"
#include "reward/pair_batch.h"

namespace elastron::reward {

namespace {

class PairSource : public data::BatchSource {
 public:
  PairSource(const data::DataConfig& data, const RewardConfig& reward, PairUse use,
             const PairModel& model)
      : data_(data),
        reward_(reward),
        training_(use == PairUse::training),
        reader_(model.tokenizer, model.eos, model.folder, data.chat_template, controls(data),
                model.padding),
        options_{.share = reward.share_prompts,
                 .labels = reward.loss == LossKind::simpo,
                 .task_id = data::task_id(reward.task)} {}

  data::PackedBatch batch(std::span<const int64_t> packs) const override {
    std::vector<PairDocument> pairs;
    for (const int64_t index : packs) pairs.push_back(labelled(index));
    std::vector<const PairDocument*> pointers;
    for (const PairDocument& pair : pairs) pointers.push_back(&pair);
    return make_pair_batch(pointers, options_);
  }

 protected:
  virtual PairDocument pair(int64_t index) const = 0;

  // A checksum of rows that stay what they are when the pairs are made again.
  static void add_to(Checksum& sum, const PairDocument& pair) {
    sum.add(pair.ids.shared);
    for (const auto& ids : pair.ids.sequences) {
      sum.add(int64_t(ids.size()));
      sum.add(std::as_bytes(std::span(ids)));
    }
    sum.add(std::as_bytes(std::span(&pair.margin, 1)));
  }

  data::DataConfig data_;
  RewardConfig reward_;
  bool training_;
  PairReader reader_;

 private:
  static data::ControlTokens controls(const data::DataConfig& data) {
    const auto setting = data.control_tokens;
    return setting == data::ControlTokens::automatic ? data::ControlTokens::keep : setting;
  }

  // reward.shuffle_labels: which pairs are turned round is a property of the pair.
  PairDocument labelled(int64_t index) const {
    PairDocument one = pair(index);
    if (!training_ || !reward_.shuffle_labels) return one;
    const RandomStream stream(uint64_t(reward_.traces.seed), RandomPurpose::shuffle,
                              uint32_t(one.sample_id), uint32_t(one.sample_id >> 32), 0x52574cu);
    if (stream.bits_at(0) & 1u) std::swap(one.ids.sequences[0], one.ids.sequences[1]);
    return one;
  }

  PairBatchOptions options_;
};

class FileSource final : public PairSource {
 public:
  FileSource(const data::DataConfig& data, const RewardConfig& reward, PairUse use,
             const PairModel& model)
      : PairSource(data, reward, use, model) {
    const auto& files = use == PairUse::training ? data.train : data.eval;
    const char* key = use == PairUse::training ? "data.train" : "data.eval";
    if (files.empty()) {
      throw UsageError("no data", key, "name files, or set data.format: synthetic");
    }
    for (const std::string& path : data::data_files(files, ".jsonl", key)) read(path, model);
    if (const auto remark = controls_.text(reader_.controls(), "row"); !remark.empty()) {
      log_warning("{}: {}", key, remark);
    }
    if (pairs_.empty()) {
      throw InputError(
          fmt::format("no pair is left of {} ({})", plural(rows_, "row"), left_out_text(left_out_)),
          fmt::format("{}: {}", key, fmt::join(files, ", ")),
          "check the files, data.max_tokens and reward.overlong");
    }
    Checksum sum;
    for (const PairDocument& pair : pairs_) add_to(sum, pair);
    fingerprint_ = sum.digest();
  }

  int64_t packs() const override { return int64_t(pairs_.size()); }
  std::string fingerprint() const override { return fingerprint_; }
  int64_t longest() const override {
    size_t longest = 0;
    for (const PairDocument& pair : pairs_) {
      for (const auto& ids : pair.ids.sequences) longest = std::max(longest, ids.size());
    }
    return int64_t(longest);
  }
  std::string summary() const override {
    int64_t apart = 0, shared = 0;
    for (const PairDocument& pair : pairs_) {
      for (const auto& ids : pair.ids.sequences) apart += int64_t(ids.size());
      shared += pair.ids.shared * int64_t(pair.ids.sequences.size() - 1);
    }
    std::string text = fmt::format("{} of {}, {}", plural(packs(), "pair"), plural(rows_, "row"),
                                   plural(apart, "token"));
    if (reward_.share_prompts) {
      text += fmt::format(", {:.1f} % of them of prompts that are computed once",
                          100.0 * double(shared) / double(apart));
    }
    return text +
           fmt::format("; left out: {}; shortened: {}", left_out_text(left_out_), truncated_);
  }

 private:
  void read(const std::string& path, const PairModel& model) {
    PreferenceFile file = read_preference_file(path, reward_.bad_rows, data_.bad_records);
    rows_ += file.lines();
    for (const auto& [reason, count] : file.left_out) left_out_[reason] += count;
    for (const PreferenceRow& row : file.rows) {
      PairDocument pair;
      pair.ids = reader_.fit(row, data_.max_tokens, reward_.training_overlong(), reward_.bad_rows);
      if (pair.ids.dropped()) {
        ++left_out_[drop_reason_text(pair.ids.drop_reason)];
        continue;
      }
      controls_.add(reader_.controls_in(row), model.tokenizer, row.where);
      truncated_ += pair.ids.truncated ? 1 : 0;
      pair.margin = row.margin;
      pair.kind_id = kind(row.setting.empty() ? "pairs" : row.setting);
      pair.sample_id = int64_t(pairs_.size());
      pairs_.push_back(std::move(pair));
    }
  }

  int32_t kind(const std::string& name) {
    const auto at = size_t(std::ranges::find(kinds_, name) - kinds_.begin());
    if (at == kinds_.size()) kinds_.push_back(name);
    return int32_t(at);
  }

  PairDocument pair(int64_t index) const override { return pairs_.at(size_t(index)); }

  std::vector<PairDocument> pairs_;
  std::map<std::string, int64_t> left_out_;
  data::ControlCount controls_;
  int64_t rows_ = 0, truncated_ = 0;
  std::string fingerprint_;
};

class TraceSource final : public PairSource {
 public:
  TraceSource(const data::DataConfig& data, const RewardConfig& reward, PairUse use,
              const PairModel& model)
      : PairSource(data, reward, use, model),
        mix_(trace_mix(reward.traces.kinds)),
        lexicon_(lexicon_for(reward.traces.lexicon, model.tokenizer)) {
    for (int k = 0; k < kTraceKinds; ++k) kinds_.push_back(trace_kind_name(k));
    pair(0);  // a length that is too short is found out now
  }

  int64_t packs() const override { return training_ ? kUnlimited : reward_.traces.eval_pairs; }
  std::string fingerprint() const override {
    Checksum sum;
    for (int64_t i = 0; i < 4; ++i) add_to(sum, pair(i));
    sum.add(reward_.traces.seed);
    sum.add(packs());
    return sum.digest();
  }
  int64_t longest() const override { return data_.max_tokens; }
  std::string summary() const override {
    return training_ ? "pairs of traces made on the fly, unlimited"
                     : plural(packs(), "pair") + " of traces made on the fly";
  }

 private:
  PairDocument pair(int64_t index) const override {
    const TraceConfig& t = reward_.traces;
    const uint64_t seed = uint64_t(t.seed) + (training_ ? 0 : 1);
    RandomStream stream(seed, RandomPurpose::synthetic_data, uint32_t(index),
                        uint32_t(index >> 32) << 8 | 0xfeu, 0xfffffffeu);
    double total = 0;
    for (const auto& [kind, weight] : mix_) total += weight;
    double dice = double(stream.next_uniform()) * total;
    size_t k = 0;
    while (k + 1 < mix_.size() && dice >= mix_[k].second) dice -= mix_[k++].second;
    const TraceOptions options{.lexicon = lexicon_,
                               .length = t.lengths[stream.next_below(uint32_t(t.lengths.size()))],
                               .entities = t.entities,
                               .sections = t.sections};
    const TracePair made = trace_pair(seed, mix_[k].first, uint64_t(index), options);
    PreferenceRow row;
    row.prompt = {{"user", made.prompt}};
    row.chosen = made.chosen;
    row.rejected = {made.rejected};
    row.where = "pair " + std::to_string(index) + " of reward.traces";
    PairDocument pair;
    pair.ids = reader_.fit(row, data_.max_tokens, reward_.training_overlong());
    if (pair.ids.dropped()) {
      throw UsageError("a pair made on the fly is " + drop_reason_text(pair.ids.drop_reason),
                       "reward.traces.lengths", "raise data.max_tokens or lower the lengths");
    }
    pair.kind_id = mix_[k].first;
    pair.sample_id = index;
    return pair;
  }

  std::vector<std::pair<int, double>> mix_;
  Lexicon lexicon_;
};

}  // namespace

std::unique_ptr<data::BatchSource> open_pair_source(const data::DataConfig& data,
                                                    const RewardConfig& reward, PairUse use,
                                                    const PairModel& model) {
  switch (data.format) {
    case data::Format::synthetic: return std::make_unique<TraceSource>(data, reward, use, model);
    case data::Format::jsonl: return std::make_unique<FileSource>(data, reward, use, model);
    case data::Format::packed: break;
  }
  throw UsageError("reward training reads no packed files", "data.format",
                   "set it to jsonl or synthetic");
}

}  // namespace elastron::reward

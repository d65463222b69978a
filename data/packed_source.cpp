#include "data/packed_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file/checksum.h"
#include "core/plural.h"
#include "data/packed_file.h"

namespace elastron::data {

namespace {

class PackedSource final : public PackSource {
 public:
  PackedSource(const std::vector<std::string>& files, const std::string& key,
               const DataConfig& config, const Tokenizer& tokenizer, int32_t eos) {
    const std::string vocabulary = vocabulary_fingerprint(tokenizer);
    for (const std::string& path : files) {
      Part part{.file = PackedFile(path), .first_pack = packs_, .first_sample = samples_};
      check(part.file, key, config, vocabulary, eos);
      for (const std::string& kind : part.file.kinds()) part.kinds.push_back(kind_id(kind));
      packs_ += part.file.packs();
      samples_ += part.file.header().records;
      parts_.push_back(std::move(part));
    }
  }

  int64_t packs() const override { return packs_; }
  std::vector<Document> pack(int64_t index) const override {
    ELASTRON_CHECK(index >= 0 && index < packs_, "pack index out of range");
    const Part& part = *std::prev(std::ranges::upper_bound(parts_, index, {}, &Part::first_pack));
    auto documents = part.file.pack(index - part.first_pack);
    for (Document& d : documents) {
      d.kind_id = part.kinds[size_t(d.kind_id)];
      d.sample_id += part.first_sample;
    }
    return documents;
  }
  std::string fingerprint() const override {
    Checksum sum;
    for (const Part& part : parts_) sum.add(part.file.fingerprint());
    return sum.digest();
  }
  int64_t longest() const override {
    int64_t longest = 0;
    for (const Part& part : parts_) longest = std::max(longest, part.file.longest_document());
    return longest;
  }
  std::string summary() const override {
    int64_t documents = 0, tokens = 0, room = 0;
    for (const Part& part : parts_) {
      documents += part.file.documents();
      tokens += part.file.tokens();
      room += part.file.packs() * part.file.header().max_tokens;
    }
    return fmt::format("{}, {} in {} ({:.1f} % full) of {}", plural(documents, "document"),
                       plural(tokens, "token"), plural(packs_, "pack"),
                       100.0 * double(tokens) / double(room),
                       plural(int64_t(parts_.size()), "packed file"));
  }

 private:
  struct Part {
    PackedFile file;
    int64_t first_pack, first_sample;
    std::vector<int32_t> kinds;  // of the file's kinds, the source's
  };

  static void check(const PackedFile& file, const std::string& key, const DataConfig& config,
                    const std::string& vocabulary, int32_t eos) {
    const PackedHeader& h = file.header();
    if (h.vocabulary != vocabulary) {
      throw InputError("the file was packed with another tokenizer", file.path(),
                       "pack the data with the tokenizer of model.path");
    }
    if (h.eos != eos) {
      throw InputError(
          fmt::format("the file's end-of-sequence token is {}, the model's is {}", h.eos, eos),
          file.path(), "pack the data with the config.json of model.path");
    }
    if (h.labels != config.label_mode) {
      throw UsageError(
          fmt::format("{} was packed with label_mode {}", file.path(), config::enum_name(h.labels)),
          "data.label_mode",
          fmt::format("set data.label_mode: {}, or pack the data again",
                      config::enum_name(h.labels)));
    }
    if (file.longest_pack() > config.max_tokens) {
      throw UsageError(fmt::format("{} has a pack of {} tokens, more than data.max_tokens = {}",
                                   file.path(), file.longest_pack(), config.max_tokens),
                       key, "raise data.max_tokens, or pack the data again");
    }
  }

  int32_t kind_id(const std::string& kind) {
    const auto it = std::ranges::find(kinds_, kind);
    if (it != kinds_.end()) return int32_t(it - kinds_.begin());
    kinds_.push_back(kind);
    return int32_t(kinds_.size() - 1);
  }

  std::vector<Part> parts_;
  int64_t packs_ = 0, samples_ = 0;
};

}  // namespace

std::unique_ptr<PackSource> open_packed_source(const std::vector<std::string>& files,
                                               const std::string& key, const DataConfig& config,
                                               const Tokenizer& tokenizer, int32_t eos) {
  return std::make_unique<PackedSource>(files, key, config, tokenizer, eos);
}

}  // namespace elastron::data

// Where batches come from. A pack (documents that share a row of tokens, or a judged pair) is a
// pure function of its index, so that any rank can make any pack and a resumed run sees what the
// interrupted one would have.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/document.h"

namespace elastron::data {

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // Packs in the source; kUnlimited for a generator.
  virtual int64_t packs() const = 0;
  // These packs end to end, as the first of a step (PackedBatch::place_in_step). Called by another
  // thread than the one that opened the source, which meanwhile computes, saves and evaluates
  // (train/step/step_batches.h): it says nothing, and uses neither a device nor HDF5.
  virtual PackedBatch batch(std::span<const int64_t> packs) const = 0;
  // Changes when the documents or their packing change: a cursor belongs to one fingerprint.
  virtual std::string fingerprint() const = 0;
  // Tokens of the longest document (of the longest sequence of a pair), or a bound where they are
  // made on the fly.
  virtual int64_t longest() const = 0;
  // One line for people: documents, tokens, fill.
  virtual std::string summary() const = 0;
  // Names behind Document::kind_id.
  const std::vector<std::string>& kinds() const { return kinds_; }

  static constexpr int64_t kUnlimited = int64_t(1) << 62;

 protected:
  std::vector<std::string> kinds_;
};

// Packs of documents.
class PackSource : public BatchSource {
 public:
  // The documents of a pack; at most max_tokens tokens together.
  virtual std::vector<Document> pack(int64_t index) const = 0;
  PackedBatch batch(std::span<const int64_t> packs) const override;
};

// Training packs, as `config` says. `model_folder`: where the chat template is. Throws InputError
// for bad files, UsageError for a configuration that yields nothing.
std::unique_ptr<PackSource> open_training_source(const DataConfig& config,
                                                 const Tokenizer& tokenizer, int32_t eos,
                                                 const std::string& model_folder);

// Evaluation documents in a fixed order, one per pack unless the files are packed already; never
// unlimited.
std::unique_ptr<PackSource> open_evaluation_source(const DataConfig& config,
                                                   const Tokenizer& tokenizer, int32_t eos,
                                                   const std::string& model_folder);

// Weighted kinds as `data.synthetic.kinds` says; the six tasks evenly where it is empty. Throws
// UsageError for an unknown kind or weights that are not positive.
std::vector<std::pair<int, double>> synthetic_mix(const SyntheticConfig& config);

}  // namespace elastron::data

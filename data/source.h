// Where packs come from. A pack is a pure function of its index, so that any rank can make any pack
// and a resumed run sees what the interrupted one would have.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/document.h"

namespace elastron::data {

class PackSource {
 public:
  virtual ~PackSource() = default;
  // Packs in the source; kUnlimited for a generator.
  virtual int64_t packs() const = 0;
  // The documents of a pack; at most max_tokens tokens together.
  virtual std::vector<Document> pack(int64_t index) const = 0;
  // Changes when the documents or their packing change: a cursor belongs to one fingerprint.
  virtual std::string fingerprint() const = 0;
  // One line for people: documents, tokens, fill.
  virtual std::string summary() const = 0;
  // Names behind Document::kind_id.
  const std::vector<std::string>& kinds() const { return kinds_; }

  static constexpr int64_t kUnlimited = int64_t(1) << 62;

 protected:
  std::vector<std::string> kinds_;
};

// Training packs, as `config` says. Throws InputError for bad files, UsageError for a configuration
// that yields nothing. `folder`: the model's, whose chat template data.chat_template may ask for.
std::unique_ptr<PackSource> open_training_source(const DataConfig& config,
                                                 const std::string& folder,
                                                 const Tokenizer& tokenizer, int32_t eos);

// Evaluation documents, one per pack, in a fixed order; never unlimited.
std::unique_ptr<PackSource> open_evaluation_source(const DataConfig& config,
                                                   const std::string& folder,
                                                   const Tokenizer& tokenizer, int32_t eos);

// Weighted kinds as `data.synthetic.kinds` says; the six tasks evenly where it is empty. Throws
// UsageError for an unknown kind or weights that are not positive.
std::vector<std::pair<int, double>> synthetic_mix(const SyntheticConfig& config);

}  // namespace elastron::data

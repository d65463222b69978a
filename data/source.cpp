#include "data/source.h"

#include "core/error.h"
#include "data/jsonl_source.h"
#include "data/synthetic_source.h"

namespace elastron::data {

namespace {

void require_files(const std::vector<std::string>& files, const std::string& what,
                   const std::string& key) {
  if (files.empty()) {
    throw UsageError("no " + what + " data", key,
                     "name JSONL files, or set data.format: synthetic");
  }
}

}  // namespace

std::unique_ptr<PackSource> open_training_source(const DataConfig& config,
                                                 const std::string& folder,
                                                 const Tokenizer& tokenizer, int32_t eos) {
  if (config.format == Format::synthetic) return open_synthetic_training(config, tokenizer, eos);
  require_files(config.train, "training", "data.train");
  return open_jsonl_source(config.train, "data.train", config, config.packing, tokenizer,
                           ChatTemplate::open(folder, config.chat_template), eos);
}

std::unique_ptr<PackSource> open_evaluation_source(const DataConfig& config,
                                                   const std::string& folder,
                                                   const Tokenizer& tokenizer, int32_t eos) {
  if (config.format == Format::synthetic) return open_synthetic_evaluation(config, tokenizer, eos);
  require_files(config.eval, "evaluation", "data.eval");
  return open_jsonl_source(config.eval, "data.eval", config, Packing::none, tokenizer,
                           ChatTemplate::open(folder, config.chat_template), eos);
}

}  // namespace elastron::data

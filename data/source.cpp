#include "data/source.h"

#include "core/error.h"
#include "data/file_list.h"
#include "data/jsonl_source.h"
#include "data/packed_source.h"
#include "data/synthetic_source.h"

namespace elastron::data {

namespace {

std::unique_ptr<PackSource> open_files(const std::vector<std::string>& files,
                                       const std::string& key, const DataConfig& config,
                                       Packing packing, const Tokenizer& tokenizer, int32_t eos,
                                       const std::string& model_folder) {
  if (files.empty()) {
    throw UsageError("no data", key, "name files, or set data.format: synthetic");
  }
  if (config.format == Format::packed) {
    return open_packed_source(data_files(files, ".h5", key), key, config, tokenizer, eos);
  }
  return open_jsonl_source(data_files(files, ".jsonl", key), key, config, packing, tokenizer, eos,
                           model_folder);
}

}  // namespace

PackedBatch PackSource::batch(std::span<const int64_t> packs) const {
  std::vector<Document> documents;
  std::vector<int32_t> ends;
  for (const int64_t index : packs) {
    for (Document& d : pack(index)) documents.push_back(std::move(d));
    ends.push_back(int32_t(documents.size()));
  }
  std::vector<const Document*> pointers;
  for (const Document& d : documents) pointers.push_back(&d);
  PackedBatch batch = make_packed_batch(pointers);
  batch.pack_ends = std::move(ends);
  return batch;
}

std::unique_ptr<PackSource> open_training_source(const DataConfig& config,
                                                 const Tokenizer& tokenizer, int32_t eos,
                                                 const std::string& model_folder) {
  if (config.format == Format::synthetic) return open_synthetic_training(config, tokenizer, eos);
  return open_files(config.train, "data.train", config, config.packing, tokenizer, eos,
                    model_folder);
}

std::unique_ptr<PackSource> open_evaluation_source(const DataConfig& config,
                                                   const Tokenizer& tokenizer, int32_t eos,
                                                   const std::string& model_folder) {
  if (config.format == Format::synthetic) return open_synthetic_evaluation(config, tokenizer, eos);
  return open_files(config.eval, "data.eval", config, Packing::none, tokenizer, eos, model_folder);
}

}  // namespace elastron::data

// A packed dataset: documents as token ids, already packed, in an HDF5 file (docs/data.md).
// Everything but the token ids is read and verified when it is opened; token ids are read and
// verified a pack at a time, by plain reads at the place that HDF5 gave: its library serves one
// thread at a time, and packs are read while another one writes a checkpoint.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/file/checksum.h"
#include "core/file/input_file.h"
#include "data/config.h"
#include "data/document.h"
#include "data/tokenizer.h"

namespace elastron {
class Hdf5File;
}

namespace elastron::data {

// How the documents were made. Root attributes of the file.
struct PackedHeader {
  std::string vocabulary;  // vocabulary_fingerprint() of the tokenizer
  int64_t vocab_size = 0;
  int32_t eos = 0;
  int64_t max_tokens = 0;
  LabelMode labels = LabelMode::all;
  Packing packing = Packing::sorted;
  ChatTemplateSetting chat_template = ChatTemplateSetting::none;
  int64_t records = 0;  // in the files it was made of; sample ids are below
};

// Names what the ids mean: XXH3-128 over the text of every id.
std::string vocabulary_fingerprint(const Tokenizer& tokenizer);

class PackedFile {
 public:
  // Throws Error of kind input, naming file and dataset, for what is missing, damaged (checksums),
  // of another format, or contradicts itself: offsets, lengths, tasks, kinds.
  explicit PackedFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const PackedHeader& header() const { return header_; }
  const std::vector<std::string>& kinds() const { return kinds_; }
  int64_t packs() const { return int64_t(pack_offsets_.size()) - 1; }
  int64_t documents() const { return int64_t(document_offsets_.size()) - 1; }
  int64_t tokens() const { return document_offsets_.back(); }
  int64_t longest_pack() const { return longest_pack_; }  // tokens
  int64_t longest_document() const;                       // tokens
  // Changes when anything in the file does.
  const std::string& fingerprint() const { return fingerprint_; }

  // From any thread. Throws InputError when the token ids are damaged, not below
  // header().vocab_size, or cannot be read.
  std::vector<Document> pack(int64_t index) const;

 private:
  void read_header(const Hdf5File& file);
  void read_index(const Hdf5File& file);
  void check_structure(const Hdf5File& file) const;
  void check_packs();
  template <class T>
  std::vector<T> column(const Hdf5File& file, const std::string& name, int64_t width = 1) const;
  [[noreturn]] void refuse(const std::string& what, const std::string& place) const;

  InputFile file_;
  uint64_t ids_begin_ = 0;  // where in it the token ids are
  PackedHeader header_;
  std::vector<std::string> kinds_;
  std::string checksums_, fingerprint_;
  std::vector<int64_t> pack_offsets_;      // [packs + 1] first document
  std::vector<BlockDigest> pack_digests_;  // [packs] of the token ids
  std::vector<int64_t> document_offsets_;  // [documents + 1] first token
  std::vector<int32_t> user_lengths_, answer_offsets_, answer_lengths_, kind_ids_;  // [documents]
  std::vector<uint8_t> task_ids_;                                                   // [documents]
  std::vector<int64_t> sample_ids_;                                                 // [documents]
  int64_t longest_pack_ = 0;
};

}  // namespace elastron::data

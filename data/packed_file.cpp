#include "data/packed_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "core/error.h"
#include "core/file/child_process.h"
#include "core/file/hdf5.h"
#include "core/json.h"
#include "data/packed_format.h"

namespace elastron::data {

using namespace packed;

namespace {

const char* const kRemedy = "make the file again with elastron pack";
constexpr int64_t kMostPacks = std::numeric_limits<uint32_t>::max();  // the sampler's

template <class E>
E value_of(const std::string& name, const std::string& path, const char* attribute) {
  for (const auto& [value, known] : config::EnumNames<E>::names) {
    if (known == name) return value;
  }
  throw InputError("an unknown value", path + ", attribute " + attribute, kRemedy);
}

// Starts at 0, rises by at least 1 and at most `step`.
bool are_offsets(const std::vector<int64_t>& offsets, int64_t step) {
  if (offsets.size() < 2 || offsets[0] != 0) return false;
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] <= offsets[i - 1] || offsets[i] - offsets[i - 1] > step) return false;
  }
  return true;
}

}  // namespace

namespace packed {

std::string header_checksum(const PackedHeader& h, const std::string& checksums) {
  Checksum sum;
  sum.add(std::string_view(kFormat));
  sum.add(h.vocabulary);
  for (const std::string_view name : {config::enum_name(h.labels), config::enum_name(h.packing),
                                      config::enum_name(h.chat_template)}) {
    sum.add(name);
  }
  for (const int64_t v : {kFormatVersion, h.vocab_size, int64_t(h.eos), h.max_tokens, h.records}) {
    sum.add(v);
  }
  sum.add(checksums);
  return sum.digest();
}

void rethrow_as_input(const Error& error) {
  // "<what> (<where>): <what to do>": the last is for checkpoints.
  const std::string line = error.what();
  throw Error(ExitCode::input, line.substr(0, line.rfind("): ") + 1) + ": " + kRemedy);
}

}  // namespace packed

std::string vocabulary_fingerprint(const Tokenizer& tokenizer) {
  Checksum sum;
  const int64_t size = tokenizer.vocab_size();
  sum.add(size);
  for (int64_t id = 0; id < size; ++id) sum.add(tokenizer.decode({int32_t(id)}));
  return sum.digest();
}

PackedFile::PackedFile(const std::string& path) : file_(path) {
  const auto open = [&] {
    Hdf5File file = Hdf5File::open(path, false);
    read_header(file);
    check_structure(file);
    return file;
  };
  reading([&] {
    // HDF5 is not hardened against hostile files: the first look is a child's.
    read_in_child(path, ExitCode::input, kRemedy, [&] {
      open();
      return std::string();
    });
    read_index(open());
  });
  check_packs();
}

void PackedFile::refuse(const std::string& what, const std::string& place) const {
  throw InputError(what, path() + place, kRemedy);
}

void PackedFile::read_header(const Hdf5File& file) {
  if (file.text_attribute("format") != kFormat) refuse("not a packed dataset", "");
  if (const int64_t version = file.integer_attribute("format_version"); version != kFormatVersion) {
    throw InputError(fmt::format("format version {}", version), path(),
                     fmt::format("this program reads version {}; {}", kFormatVersion, kRemedy));
  }
  header_.vocabulary = file.text_attribute("vocabulary");
  header_.vocab_size = file.integer_attribute("vocab_size");
  const int64_t eos = file.integer_attribute("eos");
  header_.max_tokens = file.integer_attribute("max_tokens");
  header_.labels = value_of<LabelMode>(file.text_attribute("label_mode"), path(), "label_mode");
  header_.packing = value_of<Packing>(file.text_attribute("packing"), path(), "packing");
  header_.chat_template =
      value_of<ChatTemplateSetting>(file.text_attribute("chat_template"), path(), "chat_template");
  header_.records = file.integer_attribute("records");
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (header_.vocab_size < 1 || header_.vocab_size > kMost || eos < 0 ||
      eos >= header_.vocab_size || header_.max_tokens < 1 || header_.max_tokens > kMost ||
      header_.records < 0) {
    refuse("a value out of range", ", attributes");
  }
  header_.eos = int32_t(eos);
  checksums_ = file.read_text(kChecksums);
  fingerprint_ = file.text_attribute("checksum");
  if (fingerprint_ != header_checksum(header_, checksums_)) {
    refuse("checksum mismatch", ", attributes");
  }
}

void PackedFile::check_structure(const Hdf5File& file) const {
  std::set<std::string> expected = {kInputIds,    kPackOffsets,   kPackDigests,   kDocumentOffsets,
                                    kUserLengths, kAnswerOffsets, kAnswerLengths, kTaskIds,
                                    kKindIds,     kSampleIds,     kKinds,         kChecksums};
  const auto found = file.list("/");
  if (std::set<std::string>(found.begin(), found.end()) != expected) {
    refuse("the datasets are not those of a packed dataset", "");
  }
  // Before anything of a size that the file claims is allocated.
  uint64_t left = file_.size();
  for (const std::string& name : found) {
    const Hdf5Dataset d = file.describe(name);
    if (d.shape.rank() < 1) refuse("not a list", name);
    const uint64_t bytes = uint64_t(d.shape.numel()) * dtype_size(d.dtype);
    if (bytes > left) refuse("the datasets are larger than the file", "");
    left -= bytes;
  }
}

template <class T>
std::vector<T> PackedFile::column(const Hdf5File& file, const std::string& name,
                                  int64_t width) const {
  const Hdf5Dataset d = file.describe(name);
  if (d.dtype != dtype_of<T> || d.shape.rank() != (width > 1 ? 2 : 1) ||
      (width > 1 && d.shape[1] != width)) {
    refuse("the dataset has another type or shape", name);
  }
  CpuDevice host;
  std::vector<T> values(size_t(d.shape.numel()));
  const RowBlocks blocks = row_blocks(d.shape, d.dtype);
  std::vector<BlockDigest> digests;
  for (int64_t b = 0; b < blocks.count; ++b) {
    Shape shape = d.shape;
    const int64_t first = b * blocks.rows;
    shape.set(0, std::min(blocks.rows, d.shape[0] - first));
    T* place = values.data() + first * width;
    Tensor block = Tensor::borrow(place, shape, d.dtype, host);
    file.read(name, block,
              width > 1 ? std::vector<int64_t>{first, 0} : std::vector<int64_t>{first});
    digests.push_back(block_digest(std::as_bytes(std::span(place, size_t(shape.numel())))));
  }
  const std::string line = checksum_line(tensor_checksum(d.shape, d.dtype, digests), name);
  if (("\n" + checksums_).find("\n" + line) == std::string::npos) {
    refuse("checksum mismatch", name);
  }
  return values;
}

void PackedFile::read_index(const Hdf5File& file) {
  const auto names = column<uint8_t>(file, kKinds);
  const auto list = parse_json_strict({reinterpret_cast<const char*>(names.data()), names.size()},
                                      path() + kKinds, {.max_depth = 1});
  if (!list.is_array()) refuse("not a list", kKinds);
  for (const auto& name : list) {
    if (!name.is_string()) refuse("not a list of names", kKinds);
    kinds_.push_back(name.get<std::string>());
  }
  pack_offsets_ = column<int64_t>(file, kPackOffsets);
  const auto digests = column<int64_t>(file, kPackDigests, 2);
  pack_digests_.resize(digests.size() / 2);
  for (size_t i = 0; i < digests.size(); ++i) pack_digests_[i / 2][i % 2] = uint64_t(digests[i]);
  document_offsets_ = column<int64_t>(file, kDocumentOffsets);
  user_lengths_ = column<int32_t>(file, kUserLengths);
  answer_offsets_ = column<int32_t>(file, kAnswerOffsets);
  answer_lengths_ = column<int32_t>(file, kAnswerLengths);
  task_ids_ = column<uint8_t>(file, kTaskIds);
  kind_ids_ = column<int32_t>(file, kKindIds);
  sample_ids_ = column<int64_t>(file, kSampleIds);
  const Hdf5Dataset ids = file.describe(kInputIds);
  if (ids.dtype != DType::i32 || ids.shape.rank() != 1) {
    refuse("the dataset has another type or shape", kInputIds);
  }
  ids_begin_ = file.place(kInputIds);

  if (!are_offsets(pack_offsets_, kMostDocumentsPerPack) || packs() > kMostPacks) {
    refuse("not offsets of packs", kPackOffsets);
  }
  if (!are_offsets(document_offsets_, header_.max_tokens) || tokens() != ids.shape[0]) {
    refuse("not offsets of documents", kDocumentOffsets);
  }
  const auto n = size_t(documents());
  if (pack_offsets_.back() != documents() || int64_t(pack_digests_.size()) != packs()) {
    refuse("the number of packs or documents differs between datasets", "");
  }
  for (const size_t size : {user_lengths_.size(), answer_offsets_.size(), answer_lengths_.size(),
                            task_ids_.size(), kind_ids_.size(), sample_ids_.size()}) {
    if (size != n) refuse("the number of documents differs between datasets", "");
  }
}

void PackedFile::check_packs() {
  for (size_t i = 0; i < size_t(documents()); ++i) {
    const int64_t length = document_offsets_[i + 1] - document_offsets_[i];
    const int64_t user = user_lengths_[i], offset = answer_offsets_[i], answer = answer_lengths_[i];
    const char* wrong = user < 0 || user > length                       ? kUserLengths
                        : offset < 0 || user + offset > length          ? kAnswerOffsets
                        : answer < 0 || user + offset + answer > length ? kAnswerLengths
                        : task_ids_[i] >= kTaskCount                    ? kTaskIds
                        : kind_ids_[i] < 0 || kind_ids_[i] >= int64_t(kinds_.size()) ? kKindIds
                        : sample_ids_[i] < 0 || sample_ids_[i] >= header_.records    ? kSampleIds
                                                                                     : nullptr;
    if (wrong != nullptr) {
      refuse(fmt::format("document {} has a value out of range", i), wrong);
    }
  }
  for (size_t p = 0; p < size_t(packs()); ++p) {
    const int64_t length = document_offsets_[size_t(pack_offsets_[p + 1])] -
                           document_offsets_[size_t(pack_offsets_[p])];
    if (length > header_.max_tokens) {
      refuse(fmt::format("pack {} has more than max_tokens = {} tokens", p, header_.max_tokens),
             kPackOffsets);
    }
    longest_pack_ = std::max(longest_pack_, length);
  }
}

int64_t PackedFile::longest_document() const {
  int64_t longest = 0;
  for (size_t i = 0; i + 1 < document_offsets_.size(); ++i) {
    longest = std::max(longest, document_offsets_[i + 1] - document_offsets_[i]);
  }
  return longest;
}

std::vector<Document> PackedFile::pack(int64_t index) const {
  ELASTRON_CHECK(index >= 0 && index < packs(), "pack index out of range");
  const auto first = size_t(pack_offsets_[size_t(index)]);
  const auto last = size_t(pack_offsets_[size_t(index) + 1]);
  const int64_t begin = document_offsets_[first];
  std::vector<int32_t> ids(size_t(document_offsets_[last] - begin));
  file_.read_at(ids_begin_ + uint64_t(begin) * sizeof(int32_t),
                std::as_writable_bytes(std::span(ids)));
  if (block_digest(std::as_bytes(std::span(ids))) != pack_digests_[size_t(index)]) {
    refuse(fmt::format("checksum mismatch in pack {}", index), kInputIds);
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= header_.vocab_size) {
      refuse(fmt::format("pack {} has token id {} of a vocabulary of {}", index, id,
                         header_.vocab_size),
             kInputIds);
    }
  }
  std::vector<Document> documents;
  for (size_t d = first; d < last; ++d) {
    const auto from = ids.begin() + (document_offsets_[d] - begin);
    const auto to = ids.begin() + (document_offsets_[d + 1] - begin);
    documents.push_back({.ids = {from, to},
                         .user_length = user_lengths_[d],
                         .answer_offset = answer_offsets_[d],
                         .answer_length = answer_lengths_[d],
                         .task_id = task_ids_[d],
                         .kind_id = kind_ids_[d],
                         .sample_id = sample_ids_[d],
                         .labels = header_.labels});
  }
  return documents;
}

}  // namespace elastron::data

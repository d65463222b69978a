#include "data/packed_writer.h"

#include <unistd.h>

#include <algorithm>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/file/hdf5.h"
#include "core/json.h"
#include "data/packed_format.h"

namespace elastron::data {

using namespace packed;

namespace {

// One dataset, written front to back in the blocks that it is hashed in.
template <class T>
class Column {
 public:
  Column(Hdf5File& file, std::string name, int64_t rows, int64_t width = 1)
      : file_(file),
        name_(std::move(name)),
        shape_(width > 1 ? Shape{rows, width} : Shape{rows}),
        width_(width),
        block_rows_(row_blocks(shape_, dtype_of<T>).rows) {
    file.make_dataset({name_, dtype_of<T>, shape_});
  }

  void append(std::span<const T> values) {
    const auto full = size_t(block_rows_ * width_);
    while (!values.empty()) {
      const size_t n = std::min(values.size(), full - buffer_.size());
      buffer_.insert(buffer_.end(), values.begin(), values.begin() + std::ptrdiff_t(n));
      values = values.subspan(n);
      if (buffer_.size() == full) flush();
    }
  }
  void append(T value) { append(std::span<const T>(&value, 1)); }
  // -> its line of /checksums.
  std::string finish() {
    flush();
    ELASTRON_CHECK(row_ == shape_[0], "a column with other rows than announced");
    return checksum_line(tensor_checksum(shape_, dtype_of<T>, digests_), name_);
  }

 private:
  void flush() {
    if (buffer_.empty()) return;
    Shape shape = shape_;
    shape.set(0, int64_t(buffer_.size()) / width_);
    CpuDevice host;
    file_.write(name_, Tensor::borrow(buffer_.data(), shape, dtype_of<T>, host),
                width_ > 1 ? std::vector<int64_t>{row_, 0} : std::vector<int64_t>{row_});
    digests_.push_back(block_digest(std::as_bytes(std::span(buffer_))));
    row_ += shape[0];
    buffer_.clear();
  }

  Hdf5File& file_;
  std::string name_;
  Shape shape_;
  int64_t width_, block_rows_, row_ = 0;
  std::vector<T> buffer_;
  std::vector<BlockDigest> digests_;
};

// For the library's own structures.
constexpr uint64_t kOverhead = uint64_t(1) << 16;

uint64_t file_bytes(const PackedSizes& s) {
  return uint64_t(s.tokens) * 4 + uint64_t(s.documents) * (8 + 4 * 4 + 1 + 8) +
         uint64_t(s.packs) * (8 + 16) + kOverhead;
}

std::string prepared(const std::string& path, const PackedSizes& sizes) {
  const std::string temporary = temporary_name(path);
  unlink(temporary.c_str());  // of a writer that was killed
  check_room(temporary, file_bytes(sizes));
  return temporary;
}

}  // namespace

struct PackedWriter::State {
  State(const std::string& target, const PackedSizes& sizes)
      : path(target),
        temporary(prepared(target, sizes)),
        file(Hdf5File::create(temporary)),
        input_ids(file, kInputIds, sizes.tokens),
        pack_offsets(file, kPackOffsets, sizes.packs + 1),
        pack_digests(file, kPackDigests, sizes.packs, 2),
        document_offsets(file, kDocumentOffsets, sizes.documents + 1),
        user_lengths(file, kUserLengths, sizes.documents),
        answer_offsets(file, kAnswerOffsets, sizes.documents),
        answer_lengths(file, kAnswerLengths, sizes.documents),
        task_ids(file, kTaskIds, sizes.documents),
        kind_ids(file, kKindIds, sizes.documents),
        sample_ids(file, kSampleIds, sizes.documents) {}

  std::string path, temporary;
  Hdf5File file;
  Column<int32_t> input_ids;
  Column<int64_t> pack_offsets, pack_digests, document_offsets;
  Column<int32_t> user_lengths, answer_offsets, answer_lengths;
  Column<uint8_t> task_ids;
  Column<int32_t> kind_ids;
  Column<int64_t> sample_ids;
  int64_t documents = 0, tokens = 0;
};

PackedWriter::PackedWriter(const std::string& path, const PackedSizes& sizes) {
  ELASTRON_CHECK(sizes.packs > 0 && sizes.documents > 0 && sizes.tokens > 0, "nothing to write");
  reading([&] {
    try {
      state_ = std::make_unique<State>(path, sizes);
      state_->pack_offsets.append(0);
      state_->document_offsets.append(0);
    } catch (...) {
      unlink(temporary_name(path).c_str());
      throw;
    }
  });
}

PackedWriter::~PackedWriter() {
  if (state_) unlink(state_->temporary.c_str());
}

void PackedWriter::add(const std::vector<Document>& pack) {
  State& s = *state_;
  std::vector<int32_t> ids;
  reading([&] {
    for (const Document& d : pack) {
      ids.insert(ids.end(), d.ids.begin(), d.ids.end());
      s.tokens += d.length();
      s.document_offsets.append(s.tokens);
      s.user_lengths.append(int32_t(d.user_length));
      s.answer_offsets.append(int32_t(d.answer_offset));
      s.answer_lengths.append(int32_t(d.answer_length));
      s.task_ids.append(uint8_t(d.task_id));
      s.kind_ids.append(d.kind_id);
      s.sample_ids.append(d.sample_id);
    }
    s.input_ids.append(std::span<const int32_t>(ids));
    s.documents += int64_t(pack.size());
    s.pack_offsets.append(s.documents);
    for (const uint64_t half : block_digest(std::as_bytes(std::span(ids)))) {
      s.pack_digests.append(int64_t(half));
    }
  });
}

void PackedWriter::publish(const PackedHeader& header, const std::vector<std::string>& kinds,
                           const std::function<void(int64_t)>& on_verified) {
  State& s = *state_;
  reading([&] {
    const std::string names = nlohmann::json(kinds).dump();
    Column<uint8_t> names_column(s.file, kKinds, int64_t(names.size()));
    names_column.append(std::span(reinterpret_cast<const uint8_t*>(names.data()), names.size()));
    std::string checksums;
    for (const std::string& line :
         {s.input_ids.finish(), s.pack_offsets.finish(), s.pack_digests.finish(),
          s.document_offsets.finish(), s.user_lengths.finish(), s.answer_offsets.finish(),
          s.answer_lengths.finish(), s.task_ids.finish(), s.kind_ids.finish(),
          s.sample_ids.finish(), names_column.finish()}) {
      checksums += line;
    }
    s.file.write_text(kChecksums, checksums);
    s.file.set_attribute("format", kFormat);
    s.file.set_attribute("format_version", kFormatVersion);
    s.file.set_attribute("vocabulary", header.vocabulary);
    s.file.set_attribute("vocab_size", header.vocab_size);
    s.file.set_attribute("eos", int64_t(header.eos));
    s.file.set_attribute("max_tokens", header.max_tokens);
    s.file.set_attribute("label_mode", config::enum_name(header.labels));
    s.file.set_attribute("packing", config::enum_name(header.packing));
    s.file.set_attribute("chat_template", config::enum_name(header.chat_template));
    s.file.set_attribute("records", header.records);
    s.file.set_attribute("checksum", header_checksum(header, checksums));
    s.file.close();
  });
  // Reads back the file itself: its contents count, not what was meant to be written.
  const PackedFile written(s.temporary);
  for (int64_t p = 0; p < written.packs(); ++p) {
    written.pack(p);
    if (on_verified) on_verified(p);
  }
  publish_file(s.temporary, s.path);
}

}  // namespace elastron::data
